import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from talkhead.evaluation.report import write_html
from talkhead.evaluation.report_clips import ClipEvidence
from talkhead.evaluation.report_ranking import Ranking, choose_clips, choose_ranking
from talkhead.evaluation.scores import IDENTITY, REAL, REST, TRUTH, WARP
from tests.evaluation.report_input import (
    CLIPS,
    FPS,
    HOSTILE,
    MEASURES,
    NUM_FRAMES,
    PSNR,
    Page,
    make_evidence,
    make_scores,
)

CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipEvidence]:
    return make_evidence(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, evidence: dict[str, ClipEvidence]) -> Path:
    target = tmp_path_factory.mktemp("page") / "report.html"
    write_html(make_scores(), evidence, target)
    return target


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return Page(path)


def test_clips_are_ranked_in_the_better_direction() -> None:
    scores = make_scores(clips=("d", "c", "b", "a", "e"))
    ranked = {"best": "d", "median": "b", "worst": "e"}
    assert choose_clips(scores, Ranking("ours", "psnr")) == ranked
    assert choose_clips(scores, Ranking("ours", "m_ld")) == ranked
    assert choose_clips(scores, Ranking("ours", "fid")) == {}
    assert choose_clips(scores, Ranking("nobody", "psnr")) == {}


def test_equal_clips_go_by_their_names_and_few_clips_share_their_roles() -> None:
    ranking = Ranking("ours", "psnr")
    scores = make_scores(clips=("b", "c", "a", "d"))
    for row in scores["clips"]:
        row["values"]["psnr"] = 30
    assert choose_clips(scores, ranking) == {"best": "a", "median": "b", "worst": "d"}
    scores = make_scores(clips=("b", "a"))
    assert choose_clips(scores, ranking) == {"best": "b", "median": "b", "worst": "a"}
    scores = make_scores(clips=("a",))
    assert choose_clips(scores, ranking) == {"best": "a", "median": "a", "worst": "a"}


def test_what_was_scored_is_chosen_by_pixels_or_by_the_mouth() -> None:
    scores = make_scores({WARP: 20, "ours": 30, "other": 25})
    assert choose_ranking(scores) == Ranking("ours", "psnr")
    scores["measures"] = {"m_ld": MEASURES["m_ld"], "opening_r_best": MEASURES["lag"]}
    assert choose_ranking(scores) == Ranking("ours", "opening_r_best")
    scores["measures"] = {"m_ld": MEASURES["m_ld"]}
    assert choose_ranking(scores) == Ranking("ours", "m_ld")
    assert choose_ranking(make_scores({WARP: 20, REAL: 40})) == Ranking(WARP, "psnr")
    assert choose_ranking(make_scores({})) is None


def test_nothing_on_the_page_comes_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "poster", "action", "data", "srcset"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
        assert "url(http" not in attributes.get("style", "")
        assert not any("://" in value for value in attributes.values())
    policy = next(one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none';")


def test_hostile_names_are_text_and_nothing_else(page: Page) -> None:
    assert page.all("script") == []
    assert not any(name.startswith("on") for _, one in page.elements for name in one)
    assert page.text.count(HOSTILE) > 8
    assert any(HOSTILE in one.get("aria-label", "") for one in page.all("video"))


def test_every_fact_and_measure_is_there(page: Page) -> None:
    facts = ("speaker", "dev", "7", "25", "h264, crf 18", "yes", "a" * 64, "b" * 64, "0.1.2")
    for text in (*facts, f"data/{HOSTILE}", "alexnet-lpips", "denoiser", "is aligned"):
        assert text in page.texts
    for measure in MEASURES.values():
        assert str(measure["title"]) in page.text
    for system in PSNR:
        assert page.texts.count(system) >= 5
    assert "LPIPS, AlexNet run talkhead weights download lpips-alex" in page.text
    assert "FID of 90 frames" in page.texts
    assert f"no face {HOSTILE}" in page.texts
    assert "1 clip is broken" in page.text


def test_tables_show_means_intervals_counts_and_what_is_best(page: Page) -> None:
    # Clips never seen have 30, 29 and 28 dB; the draws of three clips end at 28 and 30.
    assert "People never seen 3 clips of 3 people, 90 frames" in page.text
    assert "29.00 , best 28.00 to 30.00 24.00 23.00 to 25.00 27.00" in page.text
    assert "44.00 43.00 to 45.00" in page.text  # the real video's are higher, and not the best
    # Baselines are a steady 5 and 2 dB below.
    assert "identity repeated +5.00 +5.00 to +5.00 better" in page.text
    assert "plain warp +2.00 +2.00 to +2.00 better" in page.text
    assert "FID , lower is better" in page.text.replace("↓ ", "")
    assert page.text.count("77.7") == len(PSNR)
    assert "77.7 , best 77.7 , best 77.7 , best 77.7 M" not in page.text
    assert "frames without a face 6 0 0 0" in page.text
    # One clip has no interval.
    assert "People seen in training 1 clip of 1 person, 30 frames" in page.text


def test_what_is_worse_than_a_baseline_is_said_to_be(
    tmp_path: Path, evidence: dict[str, ClipEvidence]
) -> None:
    write_html(make_scores({"ours": 20, WARP: 28, REAL: 45}), evidence, tmp_path / "a.html")
    text = Page(tmp_path / "a.html").text
    assert "plain warp \N{MINUS SIGN}8.00 \N{MINUS SIGN}8.00 to \N{MINUS SIGN}8.00 worse" in text
    assert "27.00 , best" in text


def test_the_page_can_be_read_aloud(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("title")) > 1
    assert "Scores of ours" in page.texts
    assert all(one["scope"] in ("row", "col") for one in page.all("th"))
    assert all(one["alt"] for one in page.all("img"))
    assert all(one["aria-label"] for one in page.all("video"))
    ids = [one["id"] for _, one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    plots = [one for one in page.all("svg") if one.get("role") == "img"]
    # Three measures by clip, and the openings of three generated systems in three clips.
    assert len(plots) == 3 + 3 * 3
    assert all(one["aria-labelledby"] in ids for one in plots)
    for _, one in page.elements:
        if one.get("href", "").startswith("#"):
            assert one["href"][1:] in ids
        for value in one.values():
            assert "url(#" not in value or value.split("url(#")[1].split(")")[0] in ids


def test_clips_are_shown_with_videos_frames_and_curves(page: Page) -> None:
    assert len(page.all("video")) == 3 * len(PSNR)
    assert len(page.all("img")) == 3 * len(PSNR) * 6
    for role in ("best", "median", "worst"):
        assert role in page.texts
    assert page.text.count("Mouth opening, eye distances") == 3
    # The real opening goes with sin(frame + 3): in the first five frames it is largest at frame 4,
    # in the next five it is smallest at frame 8.
    assert "0.16 s open 0.32 s shut" in page.text


def test_points_of_the_plots_name_their_clips(page: Page) -> None:
    for clip, value in zip(CLIPS, ("30.00", "29.00", "28.00", "27.00"), strict=True):
        assert f"{clip}, ours: {value}" in page.texts
    assert "People right of the dashed line were seen in training" in page.text


def test_the_same_input_gives_the_same_bytes_whatever_matplotlib_is_set_to(
    tmp_path: Path, path: Path, evidence: dict[str, ClipEvidence]
) -> None:
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path"}):
        write_html(make_scores(), evidence, tmp_path / "again.html")
        assert matplotlib.rcParams["lines.linewidth"] == 9
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


def test_videos_that_do_not_fit_are_left_out_and_said_to_be(
    tmp_path: Path, path: Path, evidence: dict[str, ClipEvidence]
) -> None:
    limit = path.stat().st_size - 2000
    write_html(make_scores(), evidence, tmp_path / "a.html", max_bytes=limit)
    fewer = Page(tmp_path / "a.html")
    assert (tmp_path / "a.html").stat().st_size <= limit
    assert 0 < len(fewer.all("video")) < 3 * len(PSNR)
    assert "Too large for this page; see the folder of videos: plain warp." in fewer.text
    write_html(make_scores(), evidence, tmp_path / "b.html", max_bytes=1000)
    none = Page(tmp_path / "b.html")
    assert none.all("video") == []
    assert len(none.all("img")) == 3 * len(PSNR) * 6
    assert f"videos: {REAL}, ours, {IDENTITY}, {WARP}." in none.text


def test_landmarks_alone_have_curves_and_nothing_to_watch(tmp_path: Path) -> None:
    systems = {"ours": 30.0, REST: 20.0, TRUTH: 45.0}
    curve = np.linspace(0, 0.2, NUM_FRAMES).astype(np.float32)
    nothing = np.full(NUM_FRAMES, np.nan, np.float32)
    silent = np.zeros(0, np.float32)
    openings = {"ours": curve, REST: nothing, TRUTH: curve[:-1]}
    evidence = {clip: ClipEvidence(clip, FPS, silent, openings, {}) for clip in CLIPS}
    write_html(make_scores(systems, stage="landmarks"), evidence, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert page.all("video") == page.all("img") == []
    assert len([one for one in page.all("svg") if one.get("role") == "img"]) == 3 + 3 * 2
    assert "Frames" not in page.texts
    assert "landmarks from audio" in page.text
    assert "no sound" in page.text


def test_one_clip_is_best_median_and_worst_at_once(
    tmp_path: Path, evidence: dict[str, ClipEvidence]
) -> None:
    scores = make_scores(clips=("anna-1",))
    write_html(scores, evidence, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert "best median worst anna-1" in page.text
    assert len(page.all("video")) == len(PSNR)


def test_a_page_without_clips_or_evidence_is_a_page(tmp_path: Path) -> None:
    write_html(make_scores({}), {}, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert "No clips were scored." in page.texts
    assert "no clip has a value" in page.texts
    write_html(make_scores(), {}, tmp_path / "b.html")
    assert Page(tmp_path / "b.html").all("video") == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_everything_and_asks_for_nothing(
    browser: Any, path: Path, width: int, scheme: str
) -> None:
    complaints: list[str] = []
    asked: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri(), wait_until="load")
    tab.wait_for_function(
        "[...document.querySelectorAll('video')].every(one => one.readyState >= 1)"
    )

    assert tab.title() == "Scores of ours"
    widths = tab.evaluate("[...document.images].map(one => [one.complete, one.naturalWidth])")
    assert widths == [[True, 256]] * (3 * len(PSNR) * 6)
    videos = tab.evaluate(
        "[...document.querySelectorAll('video')]"
        ".map(one => [one.videoWidth, one.videoHeight, one.duration])"
    )
    assert len(videos) == 3 * len(PSNR)
    for one in videos:
        # Sound of 1.2 s in packets of 64 ms may end a little later.
        assert one == [256, 256, pytest.approx(NUM_FRAMES / FPS, abs=0.1)]
    # The picture itself is decoded too, not the file's header alone.
    shown = tab.evaluate(
        "async () => { const one = document.querySelector('video'); one.muted = true;"
        " await one.play(); one.pause(); return one.readyState; }"
    )
    assert shown >= 2
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    rows = tab.evaluate("[...document.querySelectorAll('table')].map(one => one.rows.length)")
    assert len(rows) >= 2 + 2 + 2 + 3 + 1
    assert min(rows) >= 1
    scores = tab.locator("table.scores").first
    assert scores.locator("tbody tr").count() == len(MEASURES) + 2
    assert scores.is_visible()
    drawn = tab.evaluate(
        "[...document.querySelectorAll('svg.plot')]"
        ".map(one => [one.getBoundingClientRect().height, one.querySelectorAll('text').length])"
    )
    assert all(height > 50 and texts >= 4 for height, texts in drawn)
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    tab.close()
