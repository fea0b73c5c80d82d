"""What a list of weights may say."""

from pathlib import Path

import pytest

from talkhead.errors import WeightsError
from talkhead.weights import format_list, read_list
from tests.weights_lists import COMPONENTS, PIPELINE, REVISION, model_entry, written


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    hub = f"""
[mask-noise_2]
kind = "model"
about = 'with "quotes", a \\ and an é'
licence = "MIT"
origin = "elsewhere"
where = "hub"
repo = "owner/name"
revision = "{REVISION}"
files = [{{ path = "sub/a.bin", bytes = 3, sha256 = "{"0f" * 32}" }}]
"""
    entries = read_list(written(tmp_path, PIPELINE + hub + "".join(map(model_entry, COMPONENTS))))
    assert entries["mask-noise_2"].about == 'with "quotes", a \\ and an é'
    assert entries["mask-noise_2"].num_bytes == 3
    assert read_list(written(tmp_path, format_list(entries))) == entries


FILE = '{ path = "a.bin", bytes = 1, sha256 = "' + "a" * 64 + '" }'


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('kind = "model"\n', "", "'kind' is missing"),
        ('kind = "model"', 'kind = "net"', "kind 'net' or where 'package' is unknown"),
        ('kind = "model"', 'kind = "model"\nsize = 3', "unknown key 'size'"),
        ('licence = "Apache-2.0"', "licence = 2", "'licence' is missing or not a text"),
        ('where = "package"', 'where = "url"', "url is required with"),
        (
            'where = "package"',
            'where = "url"\nurl = "http://example.org/a"',
            "url must start with https://",
        ),
        ('where = "package"', 'where = "hub"\nrepo = "a/b"', "repo and revision are required with"),
        (
            'where = "package"',
            'where = "hub"\nrepo = "a/b"\nrevision = "main"',
            "revision must be a commit of 40",
        ),
        (
            'where = "package"',
            'where = "package"\ncomponents = ["x"]',
            "components are required in",
        ),
        ("files = []", 'files = [{ path = "a.bin" }]', "a file needs path, bytes and sha256"),
        ("files = []", f"files = [{FILE}]".replace("a.bin", "../a"), "is not a relative path"),
        ("files = []", f"files = [{FILE}]".replace("aaaa", "AAAA"), "is not a digest"),
        ("files = []", f"files = [{FILE}]".replace("= 1", '= "1"'), "is not a size"),
        (
            'where = "package"\nfiles = []',
            f'where = "url"\nurl = "https://example.org/a"\nfiles = [{FILE}, {FILE}]',
            "exactly one file",
        ),
        ("[denoiser]", '["de noiser"]', "a name consists of letters"),
        ("[denoiser]", "[denoiser", "is not valid TOML"),
    ],
)
def test_a_list_that_is_wrong_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    text = model_entry("denoiser")
    assert before in text
    with pytest.raises(WeightsError, match=message):
        read_list(written(tmp_path, text.replace(before, after)))


def test_a_pipeline_needs_components_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="'default' needs 'autoencoder', which is not shipped"):
        read_list(written(tmp_path, PIPELINE))
