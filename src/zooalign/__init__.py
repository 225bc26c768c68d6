"""Measure which models see the world alike, and whether that grows with capability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zooalign.alignment.score import score

__version__ = "0.1.0"
__all__ = ["score"]


def __getattr__(name: str) -> Any:
    """Import `score` when it is first used, so that `import zooalign` stays light."""
    if name == "score":
        from zooalign.alignment.score import score

        return score
    raise AttributeError(f"module 'zooalign' has no attribute {name!r}")
