"""The one place where timm and transformers are imported, after torchvision was made importable."""

from __future__ import annotations

import sys
from types import ModuleType

_declared: list[object] = []  # operator schemas live as long as the object that declared them


def ensure_torchvision() -> str:
    """Make torchvision importable beside a CPU build of torch.

    Returns
    -------
    str
        "native", or "declared" where two operator schemas had to be declared first.

    Raises
    ------
    RuntimeError
        If torchvision fails for another reason.

    Notes
    -----
    The torchvision of the common package index is built for CUDA; its compiled part does not load
    beside a CPU torch and its import stops at `operator torchvision::nms does not exist`. We call
    neither operator, so declaring them is enough.
    """
    import torch

    if _declared:
        return "declared"
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return "native"
    for name in [m for m in sys.modules if m == "torchvision" or m.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    import torchvision  # noqa: F401  (imported for its side effects before timm needs it)

    return "declared"


def import_timm() -> ModuleType:
    """Return the module `timm`, with torchvision made importable first."""
    ensure_torchvision()
    import timm

    return timm


def import_transformers() -> ModuleType:
    """Return the module `transformers`, with torchvision made importable first, without progress bars or notices."""
    ensure_torchvision()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
