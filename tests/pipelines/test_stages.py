import dataclasses
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from talkhead.audio2landmarks.motion_networks import basis_of
from talkhead.pipelines.networks import Pipeline, load_generator, load_pipeline

from talkhead.audio2landmarks import audio2motion as hearing
from talkhead.audio2landmarks.animation import predict_landmarks
from talkhead.audio2landmarks.audio2motion import Speech, predict_motion
from talkhead.audio2landmarks.loudness import frame_levels
from talkhead.errors import TalkheadError, WeightsError
from talkhead.geometry.crop import CROP_SIDE_PX, STAGE_SIDE_PX, face_crop
from talkhead.geometry.mesh import LOWER_INNER_LIP, OUTER_LIPS, UPPER_INNER_LIP, mouth_opening
from talkhead.geometry.motion_basis import close_lips, identity_at_rest, speech_region
from talkhead.landmarks2video.batching import BatchLimit
from talkhead.landmarks2video.denoiser import Denoiser
from talkhead.landmarks2video.renderer import render_frames
from talkhead.media.audio import write_waveform
from talkhead.media.audio_clip import AudioClip
from talkhead.media.rates import SAMPLE_RATE_HZ
from tests.meshes import floats, hand_made_basis, mean_mesh, opened
from tests.tiny import voice, write_silence, write_voice

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
CPU = torch.device("cpu")
SHAPE = np.full(4, 0.3, np.float32)


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> Pipeline:
    return load_pipeline(tiny_weights, CPU, torch.float32)


@pytest.fixture
def short(tmp_path: Path) -> Path:
    return write_voice(tmp_path / "voice.wav", 0.5)


class Full(Denoiser):
    """A denoiser on a device with memory for a limited number of frames."""

    def __init__(self, model: Denoiser, room: int) -> None:
        super().__init__(model.config)
        self.load_state_dict(model.state_dict())
        self.room = room

    def forward(
        self,
        noisy: torch.Tensor,
        time: torch.Tensor,
        warped: torch.Tensor,
        maps: torch.Tensor,
        heard: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if len(noisy) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(noisy, time, warped, maps, heard)


def picture(width: int = 201, height: int = 177) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def identity(width: int = 201, height: int = 177) -> Floats:
    """Return a mesh whose crop lies inside the picture."""
    return mean_mesh(40, width / 2, height / 2)


def landmarks(pipeline: Pipeline, audio: Path, face: Floats, **options: object) -> Floats:
    arguments = {"seed": 0} | options
    count, windows = predict_landmarks(
        pipeline.generator,
        audio,
        face,
        **arguments,  # type: ignore[arg-type]
    )
    points = np.concatenate(list(windows))
    assert len(points) == count
    return points


def frames(pipeline: Pipeline, points: Floats, *, seed: int = 0, num_steps: int = 1) -> Pixels:
    made = render_frames(
        pipeline, picture(), identity(), iter([points]), num_steps=num_steps, seed=seed
    )
    return np.concatenate(list(made))


def lips_apart(points: Floats) -> Floats:
    return np.asarray(mouth_opening(points))


# Counting.


@pytest.mark.parametrize(
    ("num_samples", "fps", "expected"),
    [
        (16_000, Fraction(25), 25),
        (16_001, Fraction(25), 26),
        (15_999, Fraction(25), 25),
        (6_400, Fraction(30_000, 1001), 12),  # 11.99
        (6_400, Fraction(10), 4),
        (1, Fraction(25), 1),
        (640, Fraction(60), 3),
    ],
)
def test_there_are_as_many_frames_as_cover_the_sound(
    pipeline: Pipeline, tmp_path: Path, num_samples: int, fps: Fraction, expected: int
) -> None:
    audio = tmp_path / "voice.wav"
    write_waveform(audio, voice(1.1)[:num_samples])
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE, fps)
    assert speech.coefficients.shape == (expected, 4)
    assert speech.activity.shape == (expected,)
    assert speech.duration_s == Fraction(num_samples, 16_000)
    assert len(landmarks(pipeline, audio, identity(), fps=fps)) == expected


def test_a_track_at_another_rate_is_the_motion_predicted_at_that_rate(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    audio = write_voice(tmp_path / "voice.wav", 1.3)
    face, still = identity(), {"pose": "still", "blink_per_minute": 0, "expression_strength": 0.5}
    slow = landmarks(pipeline, audio, face, fps=Fraction(25), **still)
    fast = landmarks(pipeline, audio, face, fps=Fraction(50), **still)
    track = LandmarkTrack(slow, Fraction(25), (200, 200), "d").resample(Fraction(50), 65)
    # Not the eyebrows, which follow the loudness, nor the lips, which are kept from crossing.
    lips = [*UPPER_INNER_LIP, *LOWER_INNER_LIP, *OUTER_LIPS]
    jaw = np.setdiff1d(np.flatnonzero(speech_region() > 0.99), lips)
    np.testing.assert_allclose(track.points[:, jaw], fast[:, jaw], atol=1e-4)
    assert np.ptp(fast[:, jaw, 1], axis=0).max() > 0.1


# Windows.


def test_windows_of_sound_are_slices_of_the_whole(tmp_path: Path) -> None:
    audio = write_voice(tmp_path / "long.wav", 18.3)
    whole = AudioClip.open(audio).waveform()
    lead, per_frame = round(hearing.LEAD_S * 16_000), 640
    padded = np.pad(whole, (lead, 20 * 16_000))
    total = -(-len(whole) // per_frame)
    starts = []
    for start, part in hearing._windows(AudioClip.open(audio), total, 25.0):
        first = max(start - hearing.CONTEXT_FRAMES, 0)
        last = min(start + hearing.WINDOW_FRAMES + hearing.CONTEXT_FRAMES, total)
        expected = padded[first * per_frame : last * per_frame + 2 * lead]
        np.testing.assert_array_equal(part, expected)
        starts.append(start)
    assert starts == list(range(0, total, hearing.WINDOW_FRAMES))


def test_levels_read_in_windows_are_those_of_the_whole(tmp_path: Path) -> None:
    waveform = voice(17.01)
    audio = tmp_path / "long.wav"
    write_waveform(audio, waveform)
    total = -(-len(waveform) // 640)
    expected = frame_levels(waveform, total, 25.0)
    loud = expected > -60  # below that, 16-bit quantisation shows
    levels = hearing._levels(AudioClip.open(audio), total, 25.0)
    assert levels.shape == (total,)
    np.testing.assert_allclose(levels[loud], expected[loud], atol=0.1)


def test_fades_of_neighbouring_windows_add_up_to_one() -> None:
    total = 730
    weights = np.zeros((total, 1), np.float32)
    for start in range(0, total, hearing.WINDOW_FRAMES):
        first = max(start - hearing.CONTEXT_FRAMES, 0)
        last = min(start + hearing.WINDOW_FRAMES + hearing.CONTEXT_FRAMES, total)
        weights[first:last] += hearing._fade(first, last, start, total)
    np.testing.assert_allclose(weights, 1, atol=1e-6)


def test_windows_give_what_the_whole_gives(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = write_voice(tmp_path / "long.wav", 18.5)
    parts = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    monkeypatch.setattr(hearing, "WINDOW_FRAMES", 10_000)
    whole = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    np.testing.assert_array_equal(parts.activity, whole.activity)
    spread = whole.coefficients.std()
    assert spread > 0.1
    difference = np.abs(parts.coefficients - whole.coefficients)
    # An untrained encoder attends to the whole window evenly, so the window length matters a bit.
    assert difference.mean() < 0.1 * spread
    assert np.corrcoef(parts.coefficients.ravel(), whole.coefficients.ravel())[0, 1] > 0.98
    # No jump where windows meet: the motion is as smooth there as elsewhere.
    jumps = np.abs(np.diff(parts.coefficients, axis=0)).max(1)
    meeting = jumps[[199, 200, 399, 400]]
    assert meeting.max() <= jumps.max()


# Voices.


def test_a_recording_at_any_loudness_gives_the_same_lips(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    waveform = voice(1.0)
    quiet, loud = tmp_path / "quiet.wav", tmp_path / "loud.wav"
    write_waveform(quiet, 0.05 * waveform)
    write_waveform(loud, waveform)
    one = predict_motion(pipeline.generator, AudioClip.open(quiet), SHAPE)
    other = predict_motion(pipeline.generator, AudioClip.open(loud), SHAPE)
    np.testing.assert_allclose(one.coefficients, other.coefficients, atol=0.1)
    np.testing.assert_allclose(one.activity, other.activity, atol=0.05)


def test_lips_move_in_speech_and_rest_in_pauses(pipeline: Pipeline, tmp_path: Path) -> None:
    waveform = np.concatenate([voice(1.0), np.zeros(24_000, np.float32), voice(1.0, 1)])
    audio = tmp_path / "pause.wav"
    write_waveform(audio, waveform)
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    assert np.abs(speech.coefficients[5:20]).mean() > 0.1
    assert np.abs(speech.coefficients[36:44]).max() < 1e-3
    assert speech.activity[36:44].max() == 0
    assert 0.5 < speech.activity.max() <= 1


def test_silence_gives_a_resting_face(pipeline: Pipeline, tmp_path: Path) -> None:
    audio = write_silence(tmp_path / "silence.wav", 0.6)
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    assert not speech.coefficients.any()
    assert not speech.activity.any()
    assert (speech.has_speech, speech.is_silent) == (False, True)
    face = opened(identity(), 4)
    points = landmarks(pipeline, audio, face, pose="still", blink_per_minute=0)
    assert len(points) == 15
    rest, head = identity_at_rest(face, pipeline.basis)
    np.testing.assert_allclose(points, head.to_picture(rest)[None].repeat(15, 0), atol=1e-3)
    assert lips_apart(points).max() < 0.02


def steady(kind: str, count: int) -> Floats:
    rng = np.random.default_rng(0)
    time = np.arange(count) / SAMPLE_RATE_HZ
    sounds = {
        "hum": 0.05 * np.sin(2 * np.pi * 50 * time) + 0.02 * np.sin(2 * np.pi * 150 * time),
        "white noise": 0.1 * rng.normal(size=count),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
    }
    return np.asarray(sounds[kind], np.float32)


@pytest.mark.parametrize("kind", ["hum", "white noise", "tone"])
def test_steady_sound_moves_no_lips(pipeline: Pipeline, tmp_path: Path, kind: str) -> None:
    audio = tmp_path / "steady.wav"
    write_waveform(audio, steady(kind, 5 * SAMPLE_RATE_HZ))
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    assert len(speech.coefficients) == 125
    assert np.abs(speech.coefficients).max() < 1e-3
    assert speech.activity.max() < 1e-3
    assert (speech.has_speech, speech.is_silent) == (False, False)


@pytest.mark.parametrize("kind", ["hum", "white noise", "tone"])
def test_lips_rest_where_only_the_room_sounds(
    pipeline: Pipeline, tmp_path: Path, kind: str
) -> None:
    audio = tmp_path / "room.wav"
    spoken = np.concatenate([np.zeros(32_000), 4 * voice(2.0), np.zeros(32_000)])
    room = 0.1 * steady(kind, len(spoken))
    write_waveform(audio, (spoken + room).astype(np.float32).clip(-1, 1))
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    quiet = np.r_[0:32, 110:150]
    assert np.abs(speech.coefficients[quiet]).max() < 1e-3
    assert np.abs(speech.coefficients[50:100]).max() > 0.1
    assert speech.activity[50:100].max() > 0.5


@pytest.mark.parametrize("room_db", [None, -75, -60, -45])
def test_a_sentence_in_a_minute_of_quiet_moves_lips(
    pipeline: Pipeline, tmp_path: Path, room_db: float | None
) -> None:
    count, start = 60 * SAMPLE_RATE_HZ, 40 * SAMPLE_RATE_HZ
    scale = 0 if room_db is None else 10 ** (room_db / 20)
    waveform = scale * np.random.default_rng(0).normal(size=count)
    waveform[start : start + 2 * SAMPLE_RATE_HZ] += voice(2.0)
    audio = tmp_path / "rare.wav"
    write_waveform(audio, waveform.astype(np.float32))
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    assert speech.has_speech
    assert np.abs(speech.coefficients[1000:1050]).max() > 0.1
    assert speech.activity[1000:1050].max() > 0.5
    quiet = np.r_[0:975, 1070:1500]
    assert np.abs(speech.coefficients[quiet]).max() < 1e-3


def test_two_sentences_of_different_loudness_both_move_lips(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    loud, pause = voice(2.0), np.zeros(2 * SAMPLE_RATE_HZ, np.float32)
    audio = tmp_path / "two.wav"
    write_waveform(audio, np.concatenate([loud, pause, loud * 10 ** (-25 / 20), pause]))
    speech = predict_motion(pipeline.generator, AudioClip.open(audio), SHAPE)
    strength = [np.abs(speech.coefficients[start : start + 50]).mean() for start in (0, 100)]
    assert strength[1] > 0.7 * strength[0]
    assert speech.activity[100:150].max() > 0.3
    assert np.abs(speech.coefficients[60:80]).max() < 1e-3


@pytest.mark.parametrize("offset", [0.1, 0.2, -0.4])
def test_an_offset_takes_nothing_from_the_lips(
    pipeline: Pipeline, tmp_path: Path, offset: float
) -> None:
    pause = np.zeros(SAMPLE_RATE_HZ, np.float32)
    waveform = np.concatenate([voice(2.0), pause, voice(1.0)]) / 2
    for name, added in (("plain.wav", 0.0), ("offset.wav", offset)):
        write_waveform(tmp_path / name, waveform + np.float32(added))
    plain = predict_motion(pipeline.generator, AudioClip.open(tmp_path / "plain.wav"), SHAPE)
    speech = predict_motion(pipeline.generator, AudioClip.open(tmp_path / "offset.wav"), SHAPE)
    difference = np.abs(speech.coefficients - plain.coefficients)
    assert difference.mean() < 0.05 * np.abs(plain.coefficients).mean()


@pytest.mark.parametrize("kind", ["noise", "clipped", "faint", "one click", "constant"])
def test_strange_sound_gives_finite_landmarks(
    pipeline: Pipeline, tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(0)
    waveform = {
        "noise": rng.uniform(-1, 1, 8000),
        "clipped": np.sign(np.sin(np.arange(8000) / 9)),
        "faint": 1e-4 * rng.normal(size=8000),
        "one click": np.eye(1, 8000, 4000)[0],
        "constant": np.full(8000, 0.5),
    }[kind]
    audio = tmp_path / "strange.wav"
    write_waveform(audio, waveform.astype(np.float32))
    points = landmarks(pipeline, audio, identity())
    assert points.shape == (13, 478, 3)
    assert np.isfinite(points).all()
    assert np.ptp(points, axis=0).max() < 40


# Landmarks.


def test_the_same_seed_gives_the_same_landmarks_and_another_seed_others(
    pipeline: Pipeline, short: Path
) -> None:
    one = landmarks(pipeline, short, identity(), seed=5)
    np.testing.assert_array_equal(landmarks(pipeline, short, identity(), seed=5), one)
    assert np.abs(landmarks(pipeline, short, identity(), seed=6) - one).max() > 0.05


def test_the_first_frame_has_the_pose_of_the_picture(pipeline: Pipeline, short: Path) -> None:
    face = identity()
    face[LOWER_INNER_LIP] = face[UPPER_INNER_LIP]
    first = landmarks(pipeline, short, face)[0]
    eyes = [33, 133, 362, 263, 168]
    np.testing.assert_allclose(first[eyes], face[eyes], atol=0.5)


def test_a_still_head_moves_its_lips_only(pipeline: Pipeline, short: Path) -> None:
    points = landmarks(pipeline, short, identity(), pose="still", blink_per_minute=0)
    moved = np.ptp(points, axis=0).max(-1)
    assert moved[OUTER_LIPS].max() > 0.3
    assert moved[[133, 362, 168, 10, 151, 4]].max() < 1e-3
    still = landmarks(pipeline, short, identity(), pose_strength=0.0, blink_per_minute=0)
    np.testing.assert_array_equal(still, points)


def test_pose_and_expression_have_their_strengths(pipeline: Pipeline, short: Path) -> None:
    face = identity()

    def spread(index: int, **options: object) -> float:
        points = landmarks(pipeline, short, face, blink_per_minute=0, **options)
        return float(np.abs(points[:, index] - points[0, index]).max())

    assert spread(168, pose_strength=3.0) > 2 * spread(168, pose_strength=1.0)
    quiet = landmarks(
        pipeline, short, face, pose="still", expression_strength=0.0, blink_per_minute=0
    )
    assert np.ptp(quiet, axis=0).max() < 1e-3
    assert spread(17, pose="still", expression_strength=2.0) > 1.3 * spread(17, pose="still")


def test_lips_never_cross(pipeline: Pipeline, short: Path) -> None:
    points = landmarks(pipeline, short, identity(), pose="still", expression_strength=3.0)
    gap = points[:, LOWER_INNER_LIP, 1] - points[:, UPPER_INNER_LIP, 1]
    assert gap.min() > -1e-2


def test_blinks_close_the_eyes(pipeline: Pipeline, tmp_path: Path) -> None:
    audio = write_silence(tmp_path / "silence.wav", 4)
    points = landmarks(pipeline, audio, identity(), pose="still", blink_per_minute=60, seed=1)
    opening = points[:, 145, 1] - points[:, 159, 1]
    assert opening[0] > 2
    assert opening.min() < 0.3 * opening[0]
    assert opening.min() > -0.5


def test_an_unknown_pose_is_refused(pipeline: Pipeline, short: Path) -> None:
    with pytest.raises(TalkheadError, match="natural or still, not 'wild'"):
        landmarks(pipeline, short, identity(), pose="wild")


# Frames.


@pytest.fixture
def talking(pipeline: Pipeline) -> Floats:
    """Return four meshes of the identity with an increasingly open mouth."""
    return np.stack([opened(identity(), by) for by in (0.0, 2.0, 4.0, 6.0)])


def test_frames_have_the_size_of_the_picture(pipeline: Pipeline, talking: Floats) -> None:
    made = frames(pipeline, talking)
    assert made.shape == (4, 177, 201, 3)
    assert made.dtype == np.uint8
    assert (made[3] != made[0]).any()


def test_the_background_is_the_pictures(pipeline: Pipeline, talking: Floats) -> None:
    pixels, face = picture(301, 277), identity(301, 277)
    crop = face_crop(face)
    half = STAGE_SIDE_PX / CROP_SIDE_PX * crop.side / 2 + 16  # crops are aligned to whole pixels
    rows, columns = (slice(int(at - half), int(at + half)) for at in (crop.y, crop.x))
    assert 0 < rows.start < rows.stop < 277
    assert 0 < columns.start < columns.stop < 301
    outside = np.ones((277, 301), bool)
    outside[rows, columns] = False
    moved = talking + floats([50, 50, 0])
    for window in render_frames(pipeline, pixels, face, iter([moved])):
        assert (window[-1] != pixels).any()
        for frame in window:
            np.testing.assert_array_equal(frame[outside], pixels[outside])


def test_the_same_input_and_seed_give_the_same_frames(pipeline: Pipeline, talking: Floats) -> None:
    one = frames(pipeline, talking, seed=3, num_steps=3)
    np.testing.assert_array_equal(frames(pipeline, talking, seed=3, num_steps=3), one)
    assert (frames(pipeline, talking, seed=4, num_steps=3) != one).any()


def test_a_window_of_frames_is_made_as_each_of_it(pipeline: Pipeline, talking: Floats) -> None:
    together = frames(pipeline, talking)
    made = render_frames(pipeline, picture(), identity(), (p[None] for p in talking))
    alone = np.concatenate(list(made))
    assert np.abs(alone.astype(int) - together).max() <= 2


def test_rendering_in_half_precision_differs_by_little(pipeline: Pipeline, talking: Floats) -> None:
    half = dataclasses.replace(pipeline, dtype=torch.bfloat16)
    difference = np.abs(frames(half, talking).astype(int) - frames(pipeline, talking))
    assert np.percentile(difference, 99) <= 4


def test_frames_are_made_one_window_at_a_time(pipeline: Pipeline, talking: Floats) -> None:
    taken = []

    def windows() -> Iterator[Floats]:
        for index in range(1000):
            taken.append(index)
            yield talking[:1]

    made = render_frames(pipeline, picture(), identity(), windows())
    next(made)
    next(made)
    assert len(taken) <= 7  # two read ahead, and two in each stage


# Weights.


def test_a_pipeline_carries_its_basis(pipeline: Pipeline, tiny_weights: Path) -> None:
    expected = hand_made_basis()
    for basis in (pipeline.basis, basis_of(load_generator(tiny_weights / "landmarks", CPU))):
        np.testing.assert_allclose(basis.components, expected.components, atol=1e-6)
        np.testing.assert_allclose(basis.blink, expected.blink, atol=1e-6)
    closed = close_lips(opened(identity() / 40, 0.1), pipeline.basis)
    assert lips_apart(closed) < 0.02


def test_networks_are_ready_for_use_and_not_for_training(pipeline: Pipeline) -> None:
    for model in (pipeline.autoencoder, pipeline.denoiser, pipeline.generator):
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())


def exchanged(folder: Path) -> None:
    shutil.rmtree(folder / "denoiser")
    shutil.copytree(folder / "autoencoder", folder / "denoiser")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: shutil.rmtree(folder / "denoiser"), "denoiser"),
        (lambda folder: (folder / "autoencoder" / "config.json").write_text("{}"), "schema"),
        (lambda folder: (folder / "landmarks" / "model.safetensors").write_bytes(b"x"), "corrupt"),
        (exchanged, "architecture"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tiny_weights: Path, tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(tiny_weights, folder)
    spoil(folder)
    with pytest.raises(WeightsError, match=reason):
        load_pipeline(folder, CPU, torch.float32)


def test_speech_keeps_its_exact_length(pipeline: Pipeline, tmp_path: Path) -> None:
    write_waveform(tmp_path / "voice.wav", voice(0.4001))
    clip = AudioClip.open(tmp_path / "voice.wav")
    speech = predict_motion(pipeline.generator, clip, SHAPE, Fraction(24_000, 1001))
    assert isinstance(speech, Speech)
    assert speech.fps == Fraction(24_000, 1001)
    assert speech.duration_s * 16_000 == round(0.4001 * 16_000)


def test_on_a_full_device_fewer_frames_are_made_at_a_time_and_the_same(
    pipeline: Pipeline, short: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meshes = landmarks(pipeline, short, identity())

    def frames(made_by: Pipeline) -> Pixels:
        windows = iter([meshes[:8], meshes[8:]])
        return np.concatenate(list(render_frames(made_by, picture(), identity(), windows)))

    whole = frames(pipeline)
    small = dataclasses.replace(pipeline, denoiser=Full(pipeline.denoiser, 3), limit=BatchLimit())
    np.testing.assert_allclose(frames(small).astype(int), whole.astype(int), atol=1)
    assert small.limit.num_frames == 2
    assert [record.getMessage() for record in caplog.records] == [
        "cpu is out of memory: continuing with 4 frames at a time",
        "cpu is out of memory: continuing with 2 frames at a time",
    ]
    none = dataclasses.replace(small, denoiser=Full(pipeline.denoiser, 0))
    with pytest.raises(TalkheadError, match="too little memory for a single frame"):
        frames(none)
