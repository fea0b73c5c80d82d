"""The page in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from talkhead.media.metadata import read_notes
from talkhead.provenance.note import find_note
from tests.app.conftest import MAX_SECONDS, Served
from tests.evaluation.test_report import CHROMIUM_FLAGS
from tests.tiny import write_voice

TIMEOUT_MS = 90_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


def visit(browser: Any, served: Served, width: int = 1280) -> Any:
    """Open the page as a new visitor, who has no cookie."""
    tab = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    tab.set_default_timeout(TIMEOUT_MS)
    tab.asked = []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.goto(served.url)
    tab.wait_for_selector("#generate")
    return tab


def fill(tab: Any, face: Path, sound: Path) -> None:
    tab.set_input_files("#picture input[type=file]", face)
    tab.wait_for_selector("#picture img")
    add_sound(tab, sound)


def add_sound(tab: Any, sound: Path) -> None:
    tab.set_input_files("#voice input[type=file]", sound)
    tab.wait_for_selector("#voice #waveform")


def render(tab: Any) -> str:
    """Generate a video, and return its address once it can be played."""
    tab.click("#generate")
    tab.wait_for_selector("#result video")
    tab.wait_for_function("document.querySelector('#result video').readyState >= 2")
    address: str = tab.evaluate("document.querySelector('#result video').currentSrc")
    return address


def test_two_visitors_render_and_do_not_see_each_others_files(
    browser: Any, served: Served, face: Path, sound: Path, tmp_path: Path
) -> None:
    first, second = visit(browser, served), visit(browser, served, width=390)
    other = write_voice(tmp_path / "other.wav", 0.8, seed=1)
    fill(first, face, sound)
    fill(second, face, other)
    second.click("#generate")  # renders at the same time
    videos = [render(first)]
    second.wait_for_selector("#result video")
    videos.append(second.evaluate("document.querySelector('#result video').currentSrc"))

    assert [address.rsplit("/", 1)[-1] for address in videos] == ["voice.mp4", "other.mp4"]
    for tab, own, foreign in ((first, "voice", "other"), (second, "other", "voice")):
        shown = tab.content() + "".join(tab.asked)
        assert f"{own}.mp4" in shown
        assert f"{foreign}." not in shown
        # Nothing comes from another machine.
        assert [
            url for url in tab.asked if not url.startswith((served.url, "blob:", "data:"))
        ] == []
        assert "synthetic" in tab.inner_text("#state")
    assert second.evaluate("document.documentElement.scrollWidth") == 390
    # Folders are not listed, so that addresses cannot be found either.
    for folder in (videos[1].rsplit("/", 1)[0], videos[1].rsplit("/", 2)[0]):
        assert first.request.get(folder).status in (403, 404)

    with first.expect_download() as download:
        first.click("#result a[download]")
    note = find_note(read_notes(Path(download.value.path())))
    assert note is not None
    assert note.synthetic


def test_cancel_ends_a_render(browser: Any, served: Served, face: Path, tmp_path: Path) -> None:
    tab = visit(browser, served)
    fill(tab, face, write_voice(tmp_path / "long.wav", MAX_SECONDS - 1))
    tab.click("#generate")
    tab.wait_for_selector("#state .bar")
    tab.click("#cancel")
    tab.wait_for_function("document.querySelector('#state').innerText.includes('Cancelled')")
    # The pipeline is free again.
    tab.click("#voice button[aria-label=Clear]")
    add_sound(tab, write_voice(tmp_path / "short.wav", 0.2))
    assert render(tab).endswith("/short.mp4")


def test_a_wrong_file_gets_the_message(browser: Any, served: Served, sound: Path) -> None:
    tab = visit(browser, served)
    wrong = {"name": "notes.png", "mimeType": "image/png", "buffer": b"not a picture"}
    tab.set_input_files("#picture input[type=file]", wrong)
    tab.wait_for_selector("text=notes.png is not a picture in a supported format")
    add_sound(tab, sound)
    tab.click("#generate")
    tab.wait_for_function("document.body.innerText.split('notes.png is not a picture').length > 2")
