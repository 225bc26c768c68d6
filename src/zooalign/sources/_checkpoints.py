"""Single checkpoint files: inside a package, on a web server, or on this machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from zooalign.closed import Closed
from zooalign.errors import WeightsError
from zooalign.sources._packages import PackagedFile


class CheckpointOptions(Closed):
    """Where the checkpoint lies; exactly one of weights, path and url."""

    weights: PackagedFile | None = Field(default=None, description="Checkpoint inside an installed package.")
    path: str | None = Field(default=None, description="Checkpoint as a local file instead.")
    url: str | None = Field(
        default=None, pattern=r"^https?://[^\s]+/[A-Za-z0-9._-]+$", description="Checkpoint on a web server instead."
    )

    @model_validator(mode="after")
    def _check_place(self) -> CheckpointOptions:
        if sum(place is not None for place in (self.weights, self.path, self.url)) != 1:
            raise ValueError("give exactly one of `weights` (package and file), `path` and `url`")
        return self


def weight_file(options: CheckpointOptions, folder: Path) -> Path:
    """Where the checkpoint lies; one of a web server is fetched into `folder`.

    Raises
    ------
    WeightsError
        If the package, file or server is missing.
    """
    if options.weights is not None:
        return options.weights.path()
    if options.url is not None:
        from zooalign.sources._download import fetch_file

        file = folder / options.url.rpartition("/")[2]
        return file if file.is_file() else fetch_file(options.url, folder)
    path = Path(options.path or "")
    if not path.is_file():
        raise WeightsError(f"there is no checkpoint {str(path)!r}: correct the row's `path`")
    return path


def local_files(options: CheckpointOptions) -> list[Path]:
    """The checkpoint, where it is a local file."""
    return [] if options.path is None or not Path(options.path).is_file() else [Path(options.path)]
