"""The network: weights and datasets are fetched where there is one; everything else never asks for it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
# The clients read the variables when they are imported and keep what they found here.
_CLIENTS = ("huggingface_hub.constants", "datasets.config")
_TRUE = {"1", "ON", "YES", "TRUE"}


def stay_offline() -> None:
    """Keep the hub's clients from the network for the rest of the process: for jobs that compute.

    What is missing then fails at once, instead of waiting for an answer that a compute node never gets.
    """
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    for name in _CLIENTS:
        _switch(name, True)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep the hub's clients from the network inside the block, whether or not they are imported already."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    kept = {name: getattr(sys.modules.get(name), "HF_HUB_OFFLINE", None) for name in _CLIENTS}
    stay_offline()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        # A client that was imported inside the block gets what it would have read outside.
        hub = _is_true("HF_HUB_OFFLINE") or _is_true("TRANSFORMERS_OFFLINE")
        asked = (hub, hub if before["HF_DATASETS_OFFLINE"] is None else _is_true("HF_DATASETS_OFFLINE"))
        for name, read in zip(_CLIENTS, asked, strict=True):
            value = kept[name]
            _switch(name, read if value is None else value)


def is_offline() -> bool:
    """Whether the network is not to be asked: inside :func:`offline`, or because the user said so."""
    return _is_true("HF_HUB_OFFLINE")


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _TRUE


def _switch(client: str, value: bool) -> None:
    module = sys.modules.get(client)
    if module is not None:
        module.HF_HUB_OFFLINE = value  # pyright: ignore[reportAttributeAccessIssue]


def remedy(rule: str) -> str:
    """What to do where something that a rule fetches is missing.

    Parameters
    ----------
    rule : {"fetch_weights", "build_dataset"}
        The rule that makes it.

    Returns
    -------
    str
        End of a message.
    """
    return f"run `snakemake --until {rule}` where there is a network (jobs that compute use none)"
