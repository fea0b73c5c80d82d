"""From a checked job to its frames: find the faces, load the pipeline, set up the rendering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    from talkhead.pipelines.stages import PictureFace, VideoFace, cut_out_faces, render_face
    from talkhead.tracking.background import place

    job = checked.job
    motion = MotionOptions(
        read_pose(job.pose, progress),
        job.pose_strength,
        job.expression_strength,
        job.blink_per_minute,
        job.seed,
    )
    sampler = SamplerOptions(job.steps, job.start_step, job.seed, job.scheduler)
    options: dict[str, Any] = {
        "fps": checked.fps,
        "motion": motion,
        "sampler": sampler,
        "emotion": job.emotion,
    }
    backdrop = checked.backdrop
    if job.speakers:
        faces = find_speakers(
            job.face if checked.picture is None else checked.picture,
            [speaker.which for speaker in job.speakers],
            fps=checked.fps,
            loop=job.loop,
            progress=progress,
        )
        if backdrop is not None:
            faces = cut_out_faces(faces, backdrop)
        rendering = render_speakers(load(), faces, checked.clips, **options)
    else:
        face: PictureFace | VideoFace
        if checked.picture is None:
            face = VideoFace.find(job.face, checked.fps, job.choose, job.loop, progress)
        else:
            face = PictureFace.find(checked.picture, job.choose)
            if backdrop is not None:
                (face,) = cut_out_faces([face], backdrop)
        rendering = render_face(load(), face, checked.clips[0], track=checked.track, **options)
    if backdrop is None:
        return rendering
    return replace(rendering, frames=place(rendering.frames, backdrop))
