"""Run a model in the middle of its training and leave no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients, float32 that is float32; afterwards everything is as before.

    Parameters
    ----------
    model : torch.nn.Module
        Inside, every part of it is in evaluation mode (no dropout, and batch norm keeps its statistics); after that
        each part is in the mode in which it was. Autocast and TF32 are off inside: the weights' own precision counts.

    Notes
    -----
    Random states of Python, numpy, and torch on the CPU and on GPUs are put back, whatever is drawn inside, so a
    training goes on with the same bits.
    """
    import numpy as np
    import torch

    modes = [(part, part.training) for part in model.modules()]
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  (what training draws from)
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    device = next((p.device.type for p in model.parameters()), "cpu")
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device, enabled=False), _float32():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpu:
            torch.cuda.set_rng_state_all(on_gpu)


@contextmanager
def _float32() -> Iterator[None]:
    """No TF32 on GPUs, as in extraction."""
    import torch

    if not torch.cuda.is_initialized():
        yield
        return
    products: Any = torch.backends.cuda.matmul
    convolutions: Any = torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
