"""Kernels: compiled inner loops over checked arrays; every module here imports numba.

It may import nothing of the library; others import it inside functions only, so that they start without numba.
It gives loops over inputs that indexes, metrics and alignment have checked: a wrong shape reads foreign memory.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

# What kernels take. numba compiles for the dtypes that it is given and reads no annotation.
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I16 = NDArray[np.int16]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
Int = NDArray[np.integer[Any]]
Stored = NDArray[np.generic]  # features as they lie on disk, or the bits of them

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be reordered into vector lanes and multiply-adds fused; NaN and infinity keep their meaning.
VECTORISED = {"reassoc", "contract", "nsz"}


def compiled(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function to be compiled on first use, with the machine code cached on disk if possible.

    Parameters
    ----------
    **options
        Passed to :func:`numba.njit`. Floating-point sums are vectorised only where `fastmath` says so.

    Returns
    -------
    callable
        The decorator; what it returns is called as the function is.

    Notes
    -----
    numba looks for a writable folder in this order: NUMBA_CACHE_DIR, `__pycache__` beside the source, the
    user's cache folder. On a read-only install with no home it finds none and raises; then the kernel is
    compiled again in every process, which is slow (seconds) but right.
    """
    import numba

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        try:
            return numba.njit(cache=True, boundscheck=False, nogil=True, **options)(function)
        except RuntimeError:
            return numba.njit(boundscheck=False, nogil=True, **options)(function)

    return decorate


def _load_numba() -> None:
    """Load numba's tables without letting it import scipy.linalg, which no kernel here uses.

    numba asks once whether scipy's BLAS is there and pays 0.13 s of imports for the answer: a third of the
    start of an alignment job. The question is answered for it, and scipy stays importable for everyone.
    """
    importlib.import_module("numba")
    name = "scipy.linalg"
    if name in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        arraymath = importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]
    if hasattr(arraymath, "_HAVE_BLAS"):
        setattr(arraymath, "_HAVE_BLAS", importlib.util.find_spec("scipy") is not None)  # noqa: B010  (not declared)


_load_numba()
