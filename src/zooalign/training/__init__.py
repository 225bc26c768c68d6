"""Alignment while a model trains: one core, and a callback for each framework of training.

It may import alignment, features, sources and models; nothing of a sweep's workflow.
It gives `AlignmentProbe`, `TextFeatures`, `ImageFeatures`, `TrainerAlignment` and `LightningAlignment`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zooalign.training.images import ImageFeatures
    from zooalign.training.lightning_callback import LightningAlignment
    from zooalign.training.probe import AlignmentProbe
    from zooalign.training.texts import TextFeatures
    from zooalign.training.transformers_callback import TrainerAlignment

__all__ = ["AlignmentProbe", "ImageFeatures", "LightningAlignment", "TextFeatures", "TrainerAlignment"]

_PLACES = {
    "AlignmentProbe": "probe",
    "ImageFeatures": "images",
    "LightningAlignment": "lightning_callback",
    "TextFeatures": "texts",
    "TrainerAlignment": "transformers_callback",
}


def __getattr__(name: str) -> Any:
    """Import a class when it is first used: this room imports no framework that its user does not."""
    if name not in _PLACES:
        raise AttributeError(f"module 'zooalign.training' has no attribute {name!r}")
    return getattr(import_module(f"zooalign.training.{_PLACES[name]}"), name)
