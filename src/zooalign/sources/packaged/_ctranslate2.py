"""Variables in the model.bin of CTranslate2, and those of a Whisper under the names of transformers.

The file is a row of little-endian records: name, shape, type and bytes.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.errors import WeightsError
from zooalign.sources._torchvision import import_transformers

if TYPE_CHECKING:
    import numpy as np

_VERSION = 6
_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}


def read_variables(file: Path, kind: str) -> dict[str, np.ndarray]:
    """Read a model.bin.

    Parameters
    ----------
    file : Path
        Of format version 6.
    kind : str
        The specification that it must be of ("WhisperSpec").

    Returns
    -------
    dict
        Name to array as stored; a second name of a variable is left out.

    Raises
    ------
    WeightsError
        If it is something else, cut off, or damaged.
    """
    data = file.read_bytes()
    try:
        version, place = _take(data, 0, "I")
        name, place = _take_text(data, place)
        if version != _VERSION or name != kind:
            raise ValueError(f"it starts with version {version} of {name[:40]!r}")
        _, place = _take(data, place, "I")  # revision of the specification
        n, place = _take(data, place, "I")
        variables = {}
        for _ in range(n):
            name, place = _take_text(data, place)
            variables[name], place = _take_array(data, place, name)
        n_aliases, place = _take(data, place, "I")
        for _ in range(2 * n_aliases):
            _, place = _take_text(data, place)
        if place != len(data):
            raise ValueError(f"{len(data) - place} bytes follow its last variable")
    except (struct.error, ValueError) as error:
        raise WeightsError(
            f"{file.name} is no whole {kind} of CTranslate2, version {_VERSION}: {error}. Install its package again"
        ) from error
    return variables


def whisper_config(variables: dict[str, np.ndarray]) -> Any:
    """Configuration of transformers that the shapes of the variables tell; raises KeyError if one is missing."""
    vocabulary, width = variables["decoder/embeddings/weight"].shape
    layers = {
        side: sum(name.startswith(f"{side}/layer_") and name.endswith("/ffn/linear_0/bias") for name in variables)
        for side in ("encoder", "decoder")
    }
    return import_transformers().WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        **{f"{side}_layers": n for side, n in layers.items()},
        **{f"{side}_attention_heads": int(variables[f"{side}/num_heads"]) for side in layers},
        **{f"{s}_ffn_dim": len(variables[f"{s}/layer_0/ffn/linear_0/bias"]) for s in layers},
        pad_token_id=None,
    )


def whisper_state(variables: dict[str, np.ndarray], config: Any) -> dict[str, np.ndarray]:
    """Parameters of a Whisper under transformers' names.

    Parameters
    ----------
    variables : dict
        As :func:`read_variables` gives them.
    config : transformers.WhisperConfig
        For the numbers of layers.

    Returns
    -------
    dict
        float32.

    Raises
    ------
    KeyError
        If a variable is missing.
    WeightsError
        If weights are quantised to integers.
    """
    import numpy as np

    state: dict[str, np.ndarray] = {}

    def put(name: str, array: np.ndarray) -> None:
        if array.dtype.kind != "f":
            raise WeightsError(f"the weights of {name!r} are integers: take the model as float16")
        state[name] = np.ascontiguousarray(array, np.float32)

    def copy(target: str, source: str, endings: tuple[str, str] = ("weight", "bias")) -> None:
        for own, theirs in zip(("weight", "bias"), endings, strict=True):
            put(f"{target}.{own}", variables[f"{source}/{theirs}"])

    def split(target: str, source: str, parts: str) -> None:
        for ending in ("weight", "bias"):
            arrays = np.split(variables[f"{source}/{ending}"], len(parts))
            for part, array in zip(parts, arrays, strict=True):
                if (part, ending) != ("k", "bias"):  # zero in the file, absent in transformers
                    put(f"{target}.{part}_proj.{ending}", array)

    norm = ("gamma", "beta")
    for i in (1, 2):
        copy(f"model.encoder.conv{i}", f"encoder/conv{i}")
    for side, n in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        put(f"model.{side}.embed_positions.weight", variables[f"{side}/position_encodings/encodings"])
        copy(f"model.{side}.layer_norm", f"{side}/layer_norm", norm)
        for i in range(n):
            target, source = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            copy(f"{target}.self_attn_layer_norm", f"{source}/self_attention/layer_norm", norm)
            split(f"{target}.self_attn", f"{source}/self_attention/linear_0", "qkv")
            copy(f"{target}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            copy(f"{target}.final_layer_norm", f"{source}/ffn/layer_norm", norm)
            copy(f"{target}.fc1", f"{source}/ffn/linear_0")
            copy(f"{target}.fc2", f"{source}/ffn/linear_1")
            if side == "decoder":
                copy(f"{target}.encoder_attn_layer_norm", f"{source}/attention/layer_norm", norm)
                copy(f"{target}.encoder_attn.q_proj", f"{source}/attention/linear_0")
                split(f"{target}.encoder_attn", f"{source}/attention/linear_1", "kv")
                copy(f"{target}.encoder_attn.out_proj", f"{source}/attention/linear_2")
    put("model.decoder.embed_tokens.weight", variables["decoder/embeddings/weight"])
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state


def _take(data: bytes, place: int, layout: str) -> tuple[Any, int]:
    (value,) = struct.unpack_from("<" + layout, data, place)
    return value, place + struct.calcsize("<" + layout)


def _take_text(data: bytes, place: int) -> tuple[str, int]:
    length, place = _take(data, place, "H")
    text, place = _take(data, place, f"{length}s")
    return text.removesuffix(b"\0").decode(), place


def _take_array(data: bytes, place: int, name: str) -> tuple[np.ndarray, int]:
    import numpy as np

    n_axes, place = _take(data, place, "B")
    shape = []
    for _ in range(n_axes):
        edge, place = _take(data, place, "I")
        shape.append(edge)
    code, place = _take(data, place, "B")
    n_bytes, place = _take(data, place, "I")
    if code not in _TYPES:
        raise ValueError(f"variable {name!r} has the unknown type {code}")
    kind, size = np.dtype(_TYPES[code]), math.prod(shape)
    if n_bytes != size * kind.itemsize or place + n_bytes > len(data):
        raise ValueError(f"variable {name!r} of shape {tuple(shape)} has {min(n_bytes, len(data) - place)} bytes")
    return np.frombuffer(data, kind, size, place).reshape(shape), place + n_bytes
