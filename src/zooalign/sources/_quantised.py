"""Weights quantised while they are loaded: 8 or 4 bits, by the bitsandbytes library."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any, Literal

from zooalign.errors import WeightsError

Quantisation = Literal["8bit", "4bit"]


def quantisation_options(quantisation: Quantisation | None, dtype: Any) -> dict[str, Any]:
    """Arguments of transformers' `from_pretrained`.

    Parameters
    ----------
    quantisation : {"8bit", "4bit"} or None
        LLM.int8() (Dettmers et al. 2022), or 4-bit NormalFloat (Dettmers et al. 2023), of every linear layer but the
        head; None: as stored.
    dtype : torch.dtype
        Of the arithmetic between the matrices, and with 4 bits in them.

    Raises
    ------
    WeightsError
        If bitsandbytes is missing.
    """
    if quantisation is None:
        return {}
    if find_spec("bitsandbytes") is None:
        raise WeightsError(
            f"quantisation: {quantisation} needs bitsandbytes: install it "
            "(.venv/bin/pip install -e '.[quantised]'), or leave `quantisation` out of the row's options"
        )
    from transformers import BitsAndBytesConfig

    # It says once per layer and pass that it casts its input, which is what it is for.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if quantisation == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": four}
