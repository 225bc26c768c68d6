"""Files of tensors from elsewhere, read without running anything that is in them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

UNSAFE = "it holds more than tensors, or is damaged, and reading it could run code: nothing of it is read"


def read_torch(file: Path) -> Any:
    """What `torch.save` wrote: tensors, numbers, texts, and lists and dictionaries of them.

    Parameters
    ----------
    file : Path
        A .pt or .pth file.

    Raises
    ------
    ValueError
        If it holds anything else, or is damaged; the message is ours, since torch's own advises to run the code.
    MemoryError
        If it does not fit into memory.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(UNSAFE) from error
    except Exception as error:  # of zip, pickle and torch's own reader
        text = str(error).lower()
        if "can't allocate memory" in text or "not enough memory" in text:
            raise MemoryError(str(error)) from error
        raise ValueError(f"it is truncated or damaged, or was not written by torch ({_first_line(error)})") from error


def read_safetensors(file: Path) -> dict[str, Any]:
    """Tensors of a .safetensors file by name; ValueError if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"it is truncated or damaged, or no safetensors file ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
