"""Where a dataset family keeps what it downloads from a package manager or the hub."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from zooalign.closed import Closed


class Cached(Closed):
    """Option of a family that downloads."""

    cache: str | None = Field(
        default=None, description="Folder that keeps what is downloaded; null: `.cache` beside the dataset folder."
    )

    def cache_beside(self, folder: Path) -> Path:
        """The folder of downloads for a dataset folder."""
        return Path(self.cache or folder.parent / ".cache")
