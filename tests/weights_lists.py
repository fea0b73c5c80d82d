"""Lists of weights as tests write them."""

import hashlib
from pathlib import Path

from talkhead.weights import WeightsFile, WeightsList

PIPELINE = """
[default]
kind = "pipeline"
about = "a picture and a voice to frames"
licence = "Apache-2.0"
origin = "trained for talkhead"
where = "package"
components = ["autoencoder", "denoiser", "landmark_generator"]
files = []
"""
COMPONENTS = ("autoencoder", "denoiser", "landmark_generator")
REVISION = "0123456789abcdef0123456789abcdef01234567"


def model_entry(name: str) -> str:
    return f"""
[{name}]
kind = "model"
about = "one model"
licence = "Apache-2.0"
origin = "trained for talkhead"
where = "package"
files = []
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "weights.toml"
    path.write_text(text)
    return path


def file_of(content: bytes, path: str = "a.bin") -> WeightsFile:
    return WeightsFile(path, len(content), hashlib.sha256(content).hexdigest())


def asset_entry(file: WeightsFile) -> str:
    return f"""
[asset]
kind = "asset"
about = "one file"
licence = "MIT"
origin = "elsewhere"
where = "url"
url = "https://example.org/a.bin"
files = [{{ path = "{file.path}", bytes = {file.num_bytes}, sha256 = "{file.sha256}" }}]
"""


def url_list(tmp_path: Path, content: bytes) -> WeightsList:
    text = asset_entry(file_of(content))
    return WeightsList(written(tmp_path, text), checkpoints=tmp_path, cache=tmp_path / "cache")
