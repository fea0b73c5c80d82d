"""Load pre-trained speech encoders: our own checkpoints, or published ones in the hub's layout.

Published are wav2vec 2.0, HuBERT, WavLM and Whisper. Their configuration is read strictly, and only
safetensors are: nothing of them runs as code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from transformers import AutoConfig

from talkhead.audio2landmarks.generator import LandmarkGenerator
from talkhead.audio2landmarks.speech_encoder import (
    AnyEncoder,
    LogMelEncoder,
    ModelType,
    PublishedConfig,
    SpeechEncoder,
)
from talkhead.audio2landmarks.whisper_encoder import AVERAGED_LAYERS, WhisperEncoder
from talkhead.config import check_arguments, in_short
from talkhead.errors import WeightsError
from talkhead.networks import Network, check_alike, class_name_of, copy_tensors, public_config
from talkhead.weights import resolve_network, resolve_weights
from talkhead.weights.strict_files import one_line, opened_tensors, read_json
from talkhead.weights.systems import PUBLISHED_FILES

WHISPER = "whisper"
MODEL_TYPES: tuple[str, ...] = (*get_args(ModelType), WHISPER)
CONFIG_NAME, TENSORS_NAME = PUBLISHED_FILES
_UNUSED = (
    "masked_spec_embed",  # for training
    "lm_head.",
    "classifier.",
    "projector.",
    "quantizer.",
    "project_q.",
    "project_hid.",
    "final_proj.",
    "label_embs_concat",
)
"""Tensors of published files that do not affect the features."""
_OLD_NAMES = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}
"""Names of the two parts of a normalised kernel in files of older versions of torch, and ours."""


def find_weights(name: str, folder: Path) -> Path:
    """Return the folder of weights: a path relative to `folder`, or as `resolve_weights` does.

    Raises:
        WeightsError: there are none, or they cannot be fetched.
    """
    path = folder / name
    return path if path.is_dir() else resolve_weights(name)


def find_network(name: str, folder: Path) -> Path:
    """Return the folder of a speech encoder, or of another network that training uses.

    Args:
        name: a path relative to `folder`, a name in weights.toml, or ``owner/name`` or
            ``owner/name@revision`` on the hub.
        folder: where relative paths start.

    Raises:
        WeightsError: there is none, or it cannot be fetched.
    """
    path = folder / name
    return path if path.is_dir() else resolve_network(name)


def is_published(folder: Path) -> bool:
    """Return whether a folder holds an encoder in the hub's layout, not one of talkhead's own.

    Raises:
        WeightsError: its config.json is missing or not JSON.
    """
    return "_class_name" not in read_json(folder / CONFIG_NAME)


def load_encoder(folder: Path, encoder: AnyEncoder) -> None:
    """Load a saved encoder's tensors into an encoder of the same sizes.

    Args:
        folder: a checkpoint of `talkhead train speech`; one of `talkhead train landmarks`, which
            contains an encoder; or a published encoder in the hub's layout.
        encoder: built from the settings' [model.speech_encoder], or from `published_config`.

    Raises:
        WeightsError: the weights are missing or corrupt, or the sizes differ.
    """
    if isinstance(encoder, LogMelEncoder):
        raise WeightsError(f"log-mel bins are not learned: nothing to load from {folder}")
    if isinstance(encoder, WhisperEncoder):
        _load_whisper(folder, encoder)
    elif encoder.config.published is not None:
        _load_published(folder, encoder)
    elif class_name_of(folder) == LandmarkGenerator.__name__:
        stored = LandmarkGenerator.from_pretrained(folder).speech
        if not isinstance(stored, SpeechEncoder):
            raise WeightsError(
                f"{folder} has a {type(stored).__name__}, but a wav2vec 2.0 is needed"
            )
        check_alike(folder, public_config(stored), public_config(encoder))
        encoder.load_state_dict(stored.state_dict())
    else:
        encoder.load_alike(folder)


def published_config(folder: Path) -> dict[str, Any]:
    """Read the arguments of the network for a published encoder in the hub's layout.

    Raises:
        WeightsError: config.json is missing, damaged, of another kind of model, or asks for
            something that `SpeechEncoder` or `WhisperEncoder` does not do.
    """
    path = folder / CONFIG_NAME
    kind = read_json(path).get("model_type")
    if kind not in MODEL_TYPES:
        raise WeightsError(
            f"{path} has model_type {in_short(repr(kind))}, but must have one of"
            f" {', '.join(MODEL_TYPES)}"
        )
    try:
        found: Any = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers and its checks raise many kinds
        raise WeightsError(f"{path} cannot be read: {one_line(error)[:200]}") from error
    if kind == WHISPER:
        return _whisper_config(found, path)
    if found.feat_extract_activation != found.hidden_act:
        raise WeightsError(f"{path} has two different activations: talkhead supports only one")
    for name in ("add_adapter", "adapter_attn_dim", "conv_pos_batch_norm"):
        if getattr(found, name, None):
            raise WeightsError(f"{path} sets {name}, which talkhead does not support")
    published = {
        "conv_bias": found.conv_bias,
        "conv_norm": found.feat_extract_norm,
        "activation": found.hidden_act,
        "stable_layer_norm": found.do_stable_layer_norm,
        "position_kernel": found.num_conv_pos_embeddings,
        "position_groups": found.num_conv_pos_embedding_groups,
        "model_type": kind,
        "conv_kernels": found.conv_kernel,
        "conv_strides": found.conv_stride,
        "norm_epsilon": found.layer_norm_eps,
    }
    if kind == "hubert":
        published["projection_norm"] = found.feat_proj_layer_norm
    elif kind == "wavlm":
        published |= {
            "num_buckets": found.num_buckets,
            "max_distance": found.max_bucket_distance,
        }
    arguments = {
        "conv_channels": found.conv_dim,
        "hidden_size": found.hidden_size,
        "num_layers": found.num_hidden_layers,
        "num_heads": found.num_attention_heads,
        "feedforward_size": found.intermediate_size,
        "dropout": 0.0,
        "published": published,
    }
    return _checked(SpeechEncoder, arguments, path)


def _whisper_config(found: Any, path: Path) -> dict[str, Any]:
    if found.activation_function != "gelu" or found.scale_embedding:
        raise WeightsError(f"{path} has another activation or scale than Whisper's own")
    arguments = {
        "num_mel_bins": found.num_mel_bins,
        "hidden_size": found.d_model,
        "num_layers": found.encoder_layers,
        "num_heads": found.encoder_attention_heads,
        "feedforward_size": found.encoder_ffn_dim,
        "max_features": found.max_source_positions,
        "averaged_layers": min(AVERAGED_LAYERS, found.encoder_layers),
    }
    return _checked(WhisperEncoder, arguments, path)


def _checked(network: type[Network], arguments: dict[str, Any], path: Path) -> dict[str, Any]:
    checked = check_arguments(
        network.__init__,
        arguments,
        source=str(path),
        error=WeightsError,
        nested=network.nested_configs,
    )
    try:
        network.sketch(checked)
    except ValueError as error:
        raise WeightsError(f"{path} does not describe a valid encoder: {error}") from error
    return checked


def _load_published(folder: Path, encoder: SpeechEncoder) -> None:
    wanted = public_config(encoder)
    found = published_config(folder) | {"dropout": wanted["dropout"]}
    check_alike(folder, found, wanted)
    path = folder / TENSORS_NAME
    prefix = f"{PublishedConfig(**wanted['published']).model_type}."
    with opened_tensors(path) as file:
        names = {
            name: _own_name(name.removeprefix(prefix))
            for name in file.keys()  # noqa: SIM118
            if not name.removeprefix(prefix).startswith(_UNUSED)
        }
    copy_tensors(path, encoder.wav2vec, names)


def _load_whisper(folder: Path, encoder: WhisperEncoder) -> None:
    check_alike(folder, published_config(folder), public_config(encoder))
    path = folder / TENSORS_NAME
    with opened_tensors(path) as file:
        names = {
            name: name.removeprefix("model.").removeprefix("encoder.")
            for name in file.keys()  # noqa: SIM118
            if name.removeprefix("model.").startswith("encoder.")
        }
    copy_tensors(path, encoder, names)


def _own_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
