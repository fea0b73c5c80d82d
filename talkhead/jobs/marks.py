"""The marks of a job's video: the note that it is synthetic, and content credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from talkhead.errors import TalkheadError
from talkhead.media.containers import MP4, Container

if TYPE_CHECKING:
    from talkhead.jobs.render_job import RenderJob
    from talkhead.provenance import Signer


def signer_of(job: RenderJob, container: Container | None) -> Signer | None:
    """Return what signs the content credentials of a job; None to leave them out.

    Args:
        job: the job.
        container: that of its output; None for raw frames.

    Raises:
        TalkheadError: certificate or key is missing or unusable, or the output cannot hold them.
    """
    if job.c2pa_certificate is None and job.c2pa_key is None:
        return None
    if job.c2pa_certificate is None or job.c2pa_key is None:
        raise TalkheadError("content credentials need both a certificate and a key")
    if job.output == Path("-"):
        raise TalkheadError("a video written to stdout cannot be signed: name an output file")
    if container is not None and container is not MP4:
        raise TalkheadError(
            f"content credentials cannot be written to {container.name}: choose mp4"
        )
    from talkhead.provenance import check_signer

    return check_signer(job.c2pa_certificate, job.c2pa_key)


def note_of(job: RenderJob, folder: Path | None) -> dict[str, str]:
    """Return the note that a video is synthetic, as metadata.

    Args:
        job: the job.
        folder: weights folder whose digests go into the note; None to look it up.

    Raises:
        TalkheadError: an input cannot be read.
    """
    from talkhead.provenance import provenance_note, weights_digests
    from talkhead.weights import resolve_weights

    return provenance_note(
        job.face,
        job.audio,
        weights_name=job.weights,
        digests=weights_digests(folder or resolve_weights(job.weights)),
        seed=job.seed,
        other_sounds=[speaker.audio for speaker in job.speakers[1:]],
    )


def seal_of(
    signer: Signer | None, note: Mapping[str, str] | None
) -> Callable[[Path, Path], None] | None:
    """Return the function that signs a file; None without a signer."""
    if signer is None:
        return None
    from talkhead.provenance import sign

    return partial(sign, signer=signer, note=note)
