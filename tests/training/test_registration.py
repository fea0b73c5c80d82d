import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from talkhead.data.clips import Clip, encode_frames, write_clip, write_manifest
from talkhead.data.selection import split_rows
from talkhead.geometry.mesh import MEAN_FACE, NUM_POINTS
from talkhead.geometry.pose import HeadPose, rotation_from_angles
from talkhead.geometry.skin_registration import NUM_POSE_FEATURES, Registration
from talkhead.landmarks2video.conditioning import draw_maps
from talkhead.landmarks2video.warp import resize_grid, warp_image
from talkhead.training.registration import fit_registration
from talkhead.training.samples import ClipBank
from tests.prepared import describe_clip, make_clip

Floats = npt.NDArray[np.float32]


def warp(image: torch.Tensor, source: Floats, target: Floats) -> torch.Tensor:
    grid, _ = draw_maps(torch.from_numpy(source)[None], torch.from_numpy(target)[None])
    return warp_image(image, resize_grid(grid, (256, 256)))


def sliding_clip(slide: Registration, seed: int, num_frames: int = 40) -> Clip:
    """A textured face that turns, with landmarks that slide over its skin."""
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.normal(size=(256, 256, 3)), (3, 3, 0))
    texture = 128 + 45 * texture / texture.std()
    image = torch.from_numpy(texture).permute(2, 0, 1)[None].float()
    angles = rng.uniform(-0.16, 0.16, (num_frames, 3)).astype(np.float32) * [0.5, 1, 0.3]
    opening = rng.uniform(0, 0.08, num_frames)
    faces = np.repeat(MEAN_FACE[None], num_frames, 0)
    faces[:, MEAN_FACE[:, 1] > 0.45, 1] += opening[:, None].astype(np.float32)
    pose = HeadPose(
        np.full(num_frames, 82, np.float32),
        rotation_from_angles(angles.astype(np.float32)),
        np.tile(np.array([128, 118, 0], np.float32), (num_frames, 1)),
    )
    landmarks = pose.to_picture(faces)
    # The image moves with the corrected meshes, because the skin is there; the landmarks do not.
    skin = slide.apply(landmarks[0], landmarks)
    frames = [warp(image, landmarks[0], mesh)[0].permute(1, 2, 0).numpy() for mesh in skin]
    jpeg, offsets = encode_frames([f.round().clip(0, 255).astype(np.uint8) for f in frames])
    return dataclasses.replace(
        make_clip(num_frames, seed), landmarks=landmarks, jpeg=jpeg, jpeg_offsets=offsets
    )


def test_meshes_that_slide_are_brought_back_to_the_skin(tmp_path: Path) -> None:
    weights = np.zeros((NUM_POSE_FEATURES + 1, NUM_POINTS, 2), np.float32)
    weights[0, :, 1] = 0.02
    weights[1, :, 0] = 0.03 * MEAN_FACE[:, 1]
    slide = Registration(np.zeros((1, NUM_POINTS, 3), np.float32), weights)
    for seed, split in enumerate(("train", "train", "train", "dev")):
        clip = sliding_clip(slide, seed)
        row = describe_clip(f"clip{seed}", make_clip(len(clip), seed), split=split)
        write_clip(tmp_path, row, clip)
    write_manifest(tmp_path)
    train, unseen, _ = split_rows(tmp_path)
    bank = ClipBank(tmp_path, train)
    fitted = fit_registration(bank, num_components=2, num_pairs=60, seed=0)
    again = fit_registration(bank, num_components=2, num_pairs=60, seed=0)
    assert np.array_equal(fitted.weights, again.weights)

    (clip,) = ClipBank(tmp_path, unseen).clips
    errors = np.zeros(2)
    for first, second in [(0, 20), (5, 30), (12, 33), (38, 8)]:
        image = torch.tensor(clip.frame(first)).permute(2, 0, 1)[None].float()
        meshes = clip.landmarks[[first, second]]
        truth = clip.frame(second)[80:200, 80:176].astype(np.float32)
        for k, target in enumerate((meshes[1], fitted.apply(meshes[0], meshes[1:])[0])):
            generated = warp(image, meshes[0], target)[0].permute(1, 2, 0).numpy()[80:200, 80:176]
            errors[k] += np.square(generated - truth).mean()
    assert errors[1] < 0.5 * errors[0]
