"""Compiled inner loops; every module here imports numba and is therefore imported inside functions only.

Nothing in this package checks its input: a wrong shape reads foreign memory. The public functions of
preparation, neighbors, indexing, metrics and inference validate first and are the only callers.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

# Sums may be reordered into vector lanes and multiply-adds fused; NaN and infinity keep their meaning.
VECTORISED = {"reassoc", "contract", "nsz"}


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function to be compiled on first use, with the machine code cached on disk if possible.

    Parameters
    ----------
    **options
        Passed to :func:`numba.njit`. Floating-point sums are vectorised only where `fastmath` says so.

    Returns
    -------
    callable
        The decorator.

    Notes
    -----
    numba looks for a writable folder in this order: NUMBA_CACHE_DIR, `__pycache__` beside the source, the
    user's cache folder. On a read-only install with no home it finds none and raises; then the kernel is
    compiled anew in every process, which is slow (seconds) but right.
    """
    import numba

    def decorate(function: Callable[..., Any]) -> Any:
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
    import numba  # noqa: F401

    name = "scipy.linalg"
    if name in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        arraymath = importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]
    if hasattr(arraymath, "_HAVE_BLAS"):
        arraymath._HAVE_BLAS = importlib.util.find_spec("scipy") is not None


_load_numba()
