"""Load pre-trained speech encoders: our own checkpoints, or published wav2vec 2.0 weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Wav2Vec2Config, Wav2Vec2Model

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_encoder import (
    KERNELS,
    STRIDES,
    LogMelEncoder,
    SpeechEncoder,
)
from talkhead.errors import WeightsError
from talkhead.networks import check_alike, class_name_of, public_config
from talkhead.weights import resolve_weights

PUBLISHED_CONFIG_NAME = "config.json"
PUBLISHED_TENSORS_NAME = "model.safetensors"
"""Files of a model in the hub's layout."""
_UNUSED = ("lm_head.", "wav2vec2.masked_spec_embed", "masked_spec_embed")
"""Tensors of published files that do not affect the features."""


def find_encoder(name: str, folder: Path) -> Path:
    """Return the folder of an encoder: a path relative to `folder`, or a name in weights.toml.

    Raises:
        WeightsError: it is neither, or cannot be fetched.
    """
    path = folder / name
    return path if path.is_dir() else resolve_weights(name)


def load_encoder(folder: Path, encoder: SpeechEncoder | LogMelEncoder) -> None:
    """Load a saved encoder's tensors into an encoder of the same sizes.

    Args:
        folder: a checkpoint of `talkhead train speech`; one of `talkhead train landmarks`, which
            contains an encoder; or a wav2vec 2.0 in the hub's layout.
        encoder: built from the settings' [model.speech_encoder].

    Raises:
        WeightsError: the weights are missing or corrupt, or the sizes differ.
    """
    if isinstance(encoder, LogMelEncoder):
        raise WeightsError(f"log-mel bins are not learned: nothing to load from {folder}")
    if encoder.config.published is not None:
        _load_published(folder, encoder)
    elif class_name_of(folder) == LandmarkGenerator.__name__:
        stored = LandmarkGenerator.from_pretrained(folder).speech
        if not isinstance(stored, SpeechEncoder):
            raise WeightsError(f"{folder} has a log-mel encoder, but a wav2vec 2.0 is needed")
        check_alike(folder, public_config(stored), public_config(encoder))
        encoder.load_state_dict(stored.state_dict())
    else:
        encoder.load_alike(folder)


def published_config(folder: Path) -> dict[str, Any]:
    """Read the arguments of `SpeechEncoder` for a wav2vec 2.0 in the hub's layout.

    Raises:
        WeightsError: config.json is not of a wav2vec 2.0, or its feature rate differs.
    """
    path = folder / PUBLISHED_CONFIG_NAME
    try:
        kind = json.loads(path.read_text(encoding="utf-8")).get("model_type")
        found = Wav2Vec2Config.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if kind != "wav2vec2":
        raise WeightsError(f"{path} has model_type {kind!r}, but 'wav2vec2' is needed")
    if (tuple(found.conv_kernel), tuple(found.conv_stride)) != (KERNELS, STRIDES):
        raise WeightsError(f"{path}: its convolutions do not give 50 features a second")
    if found.feat_extract_activation != found.hidden_act:
        raise WeightsError(f"{path} has two different activations: talkhead supports only one")
    norm: Any = found.feat_extract_norm
    if norm not in ("group", "layer"):
        raise WeightsError(
            f"{path}: its convolutions use {norm!r} normalisation, but group or layer is needed"
        )
    return {
        "conv_channels": tuple(found.conv_dim),
        "hidden_size": found.hidden_size,
        "num_layers": found.num_hidden_layers,
        "num_heads": found.num_attention_heads,
        "feedforward_size": found.intermediate_size,
        "dropout": 0.0,
        "published": {
            "conv_bias": found.conv_bias,
            "conv_norm": norm,
            "activation": found.hidden_act,
            "stable_layer_norm": found.do_stable_layer_norm,
            "position_kernel": found.num_conv_pos_embeddings,
            "position_groups": found.num_conv_pos_embedding_groups,
        },
    }


def _load_published(folder: Path, encoder: SpeechEncoder) -> None:
    wanted = public_config(encoder)
    found = published_config(folder) | {"dropout": wanted["dropout"]}
    check_alike(folder, found, wanted)
    path = folder / PUBLISHED_TENSORS_NAME
    if not path.is_file():
        raise WeightsError(f"{folder} holds no {path.name}: no other format is read")
    try:
        loaded: Any = Wav2Vec2Model.from_pretrained(
            folder,
            config=encoder.wav2vec.config,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{path} does not fit: {' '.join(str(error).split())[:200]}") from error
    model, report = loaded
    strange = [key for key in report["unexpected_keys"] if not key.startswith(_UNUSED)]
    faults = [*report["missing_keys"], *report["mismatched_keys"], *strange]
    if faults:
        raise WeightsError(f"{path} does not fit: {faults[0]}")
    encoder.wav2vec.load_state_dict(model.state_dict())
