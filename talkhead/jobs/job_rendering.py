"""From a checked job to its frames: find the faces, load the pipeline, set up the rendering."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from talkhead.jobs.pose_source import Progress, read_pose

if TYPE_CHECKING:
    from talkhead.jobs.render_job import CheckedJob
    from talkhead.pipelines.base import FacePipeline
    from talkhead.pipelines.stages import Rendering


def start_rendering(
    checked: CheckedJob, load: Callable[[], FacePipeline], progress: Progress
) -> Rendering:
    """Find the faces, load the pipeline, and set up the rendering; as for `render_job`."""
    from talkhead.audio2landmarks.animation import MotionOptions
    from talkhead.landmarks2video.sampling import SamplerOptions
    from talkhead.pipelines.speakers import find_speakers, render_speakers
    from talkhead.pipelines.stages import PictureFace, VideoFace, render_face

    job = checked.job
    motion = MotionOptions(
        read_pose(job.pose, progress),
        job.pose_strength,
        job.expression_strength,
        job.blink_per_minute,
        job.seed,
    )
    sampler = SamplerOptions(job.steps, job.start_step, job.seed, job.scheduler)
    if job.speakers:
        faces = find_speakers(
            job.face if checked.picture is None else checked.picture,
            [speaker.which for speaker in job.speakers],
            fps=checked.fps,
            loop=job.loop,
            progress=progress,
        )
        return render_speakers(
            load(),
            faces,
            checked.clips,
            fps=checked.fps,
            motion=motion,
            sampler=sampler,
            emotion=job.emotion,
        )
    face: PictureFace | VideoFace
    if checked.picture is None:
        face = VideoFace.find(job.face, checked.fps, job.choose, job.loop, progress)
    else:
        face = PictureFace.find(checked.picture, job.choose)
    return render_face(
        load(),
        face,
        checked.clips[0],
        fps=checked.fps,
        track=checked.track,
        motion=motion,
        sampler=sampler,
        emotion=job.emotion,
    )
