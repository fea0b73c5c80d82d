import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from talkhead.errors import WeightsError
from talkhead.evaluation.networks.published import fill
from talkhead.evaluation.networks.syncnet import (
    FILE,
    SyncNet,
    crop_faces,
    load_syncnet,
    mfcc,
    pair_windows,
    preprocess,
)
from tests.evaluation.networks.random_state import (
    publish,
    random_frames,
    random_state,
    resized,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return random_state(SyncNet)


@pytest.fixture(scope="module")
def syncnet(state: dict[str, Tensor]) -> SyncNet:
    return fill(SyncNet, state, source="syncnet")


def noise(num_samples: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples)


def test_names_and_sizes_are_the_published_ones(syncnet: SyncNet) -> None:
    sizes = {name: tuple(x.shape) for name, x in syncnet.state_dict().items()}
    assert sizes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert sizes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert sizes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert sizes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert sizes["netfcaud.3.weight"] == sizes["netfclip.3.weight"] == (1024, 512)
    # counted in the authors' own definition
    assert sum(x.numel() for x in syncnet.parameters()) == 13_631_616


def test_coefficients_are_those_of_python_speech_features() -> None:
    t = np.arange(1600) / 16000
    chirp = np.round(8000 * np.sin(2 * np.pi * (200 * t + 4000 * t**2))) / 32768
    # What python_speech_features 0.6 gives for these samples as 16-bit numbers.
    # fmt: off
    published = np.array([
        18.3618, 23.909725, 11.315564, -0.748534, -13.062979, -23.548848, -28.858056,
        -29.708511, -25.775353, -19.533324, -11.950064, -6.278334, -2.740142,
        19.740151, 25.987871, -2.339292, -27.242513, -35.874113, -24.529132, -1.080928,
        17.537894, 21.796755, 11.414682, -3.268388, -13.528058, -14.420327,
        20.281858, 8.570232, -24.159847, -37.214643, -18.900749, 13.259914, 29.039456,
        14.108337, -12.528234, -24.369174, -12.366219, 6.138525, 12.956454,
    ]).reshape(3, 13)
    # fmt: on
    found = mfcc(chirp)
    assert found.shape == (9, 13)
    assert found[[0, 4, 8]] == pytest.approx(published, abs=2e-6)


def test_a_column_of_coefficients_by_its_definition() -> None:
    sound = noise(400)
    samples = [round(x * 32768) for x in sound.tolist()]
    steep = [samples[0], *(b - 0.97 * a for a, b in itertools.pairwise(samples))]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    power = np.abs(turns @ np.array(steep)) ** 2 / 512
    highest = 2595 * math.log10(1 + 8000 / 700)
    corners = [
        math.floor(513 * 700 * (10 ** (k * highest / 27 / 2595) - 1) / 16000) for k in range(28)
    ]
    bands = []
    for low, top, high in zip(corners, corners[1:], corners[2:], strict=False):
        rise = sum(power[i] * (i - low) / (top - low) for i in range(low, top))
        fall = sum(power[i] * (high - i) / (high - top) for i in range(top, high))
        bands.append(math.log(rise + fall))
    by_hand = [math.log(power.sum())] + [
        (1 + 11 * math.sin(math.pi * k / 22))
        * math.sqrt(2 / 26)
        * sum(band * math.cos(math.pi * k * (2 * n + 1) / 52) for n, band in enumerate(bands))
        for k in range(1, 13)
    ]
    assert mfcc(sound)[0] == pytest.approx(np.array(by_hand))


def test_silence_has_coefficients_too() -> None:
    found = mfcc(np.zeros(560))
    assert found.shape == (2, 13)
    assert found[:, 0] == pytest.approx(math.log(np.finfo(np.float64).eps))
    assert found[:, 1:] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("samples", "columns"), [(100, 1), (400, 1), (401, 2), (16000, 99)])
def test_columns_begin_every_ten_milliseconds(samples: int, columns: int) -> None:
    assert len(mfcc(noise(samples))) == columns


def test_pictures_are_blue_green_red_in_whole_numbers() -> None:
    red = np.zeros((2, 224, 224, 3), np.uint8)
    red[..., 0] = 255
    found = preprocess(red, CPU)
    assert (found == torch.tensor([0, 0, 255])[:, None, None]).all()
    frames = random_frames(1, 256)
    rgb = preprocess(frames, CPU)[0].flip(0).permute(1, 2, 0).numpy()
    assert np.abs(rgb - resized(frames[0], 224)).max() < 0.51


def test_a_window_of_pictures_has_the_same_embedding_alone_and_in_a_video(
    syncnet: SyncNet,
) -> None:
    frames = random_frames(9, 64)
    whole = syncnet.video_embeddings(frames)
    assert whole.shape == (5, 1024)
    room = 1e-5 * float(np.abs(whole).max())
    alone = np.concatenate([syncnet.video_embeddings(frames[i : i + 5]) for i in range(5)])
    assert alone == pytest.approx(whole, abs=room)
    assert syncnet.video_embeddings(frames, batch_windows=2) == pytest.approx(whole, abs=room)
    assert np.abs(whole[0] - whole[1]).max() > 100 * room
    assert syncnet.video_embeddings(frames[:4]).shape == (0, 1024)


def test_a_window_of_sound_is_twenty_columns_from_its_first_frame_on(syncnet: SyncNet) -> None:
    sound = noise(640 * 8)
    whole = syncnet.audio_embeddings(sound)
    assert whole.shape == (3, 1024)
    columns = torch.from_numpy(mfcc(sound).T.astype(np.float32))
    room = 1e-5 * float(np.abs(whole).max())
    for index in range(3):
        window = columns[None, None, :, 4 * index : 4 * index + 20]
        alone = syncnet.embed_audio(window).numpy()[0]
        assert alone == pytest.approx(whole[index], abs=room)
    assert syncnet.audio_embeddings(sound, batch_windows=2) == pytest.approx(whole, abs=room)
    assert syncnet.audio_embeddings(sound[: 640 * 5]).shape == (0, 1024)


@pytest.mark.parametrize(("frames", "samples"), [(30, 640 * 30), (31, 640 * 30 + 639), (30, 99999)])
def test_pairs_are_as_many_as_common_frames_less_five(frames: int, samples: int) -> None:
    video = np.arange(frames - 4, dtype=np.float32)[:, None]
    audio = np.arange(samples // 640 - 5, dtype=np.float32)[:, None]
    ours, theirs = pair_windows(video, audio)
    assert len(ours) == len(theirs) == min(frames, samples // 640) - 5
    assert pair_windows(video[:0], audio)[1].shape == (0, 1)


def test_a_crop_reaches_further_down_than_up() -> None:
    frames = np.zeros((8, 300, 300, 3), np.uint8)
    # Half a side is 50: 70 to the left and right of (150, 140), 50 up and 90 down.
    frames[:, 90:230, 80:220] = (200, 100, 0)
    boxes = np.tile([100.0, 90, 200, 190], (8, 1))
    faces = crop_faces(frames, boxes)
    assert faces.shape == (8, 224, 224, 3)
    assert (faces == (200, 100, 0)).all()
    wider = crop_faces(frames, boxes + np.array([-1.0, -1, 1, 1]))
    assert (wider[:, 0] == 0).any()


def test_what_lies_outside_the_picture_is_grey_and_boxes_are_smoothed() -> None:
    frames = np.full((20, 100, 100, 3), 250, np.uint8)
    boxes = np.tile([-10.0, -10, 90, 90], (20, 1))
    faces = crop_faces(frames, boxes)
    assert (faces[0, :10] == 110).all()
    assert (faces[0, 100, 112] == 250).all()
    astray = boxes.copy()
    astray[9:12] += 40
    assert (crop_faces(frames, astray) == faces).all()
    with pytest.raises(ValueError, match="6 frames are too few"):
        crop_faces(frames[:6], boxes[:6])


def test_the_published_file_loads_and_others_do_not(
    tmp_path: Path, state: dict[str, Tensor], syncnet: SyncNet
) -> None:
    publish(tmp_path / FILE, state, is_old=True)
    sound = noise(640 * 6)
    loaded = load_syncnet(tmp_path)
    assert loaded.audio_embeddings(sound) == pytest.approx(syncnet.audio_embeddings(sound))
    publish(tmp_path / FILE, state | {"netcnnface.0.bias": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"1 tensor unknown \(netcnnface"):
        load_syncnet(tmp_path)
    odd = state | {"netfclip.3.bias": torch.zeros(512)}
    del odd["netfcaud.1.running_var"]
    publish(tmp_path / FILE, odd)
    with pytest.raises(WeightsError, match=r"missing \(netfcaud.*another shape \(netfclip.3.bias"):
        load_syncnet(tmp_path)
