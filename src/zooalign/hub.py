"""The hub: what its refusals mean, and whether a file is the one that it lists; for weights and datasets alike."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from zooalign.provenance import file_sha256

Kind = Literal["weights", "datasets"]
_RECORDED = {"weights": "results/weights/MODEL", "datasets": "results/datasets/DATASET"}


def refusal(repository: str, revision: str | None, error: Exception, kind: Kind) -> str:
    """Our own message for what the hub's client raises.

    Parameters
    ----------
    repository : str
        "owner/name".
    revision : str or None
        Commit; None: the newest.
    error : Exception
        Whatever the client or its HTTP library raised.
    kind : {"weights", "datasets"}
        What is fetched.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        page = repository if kind == "weights" else f"datasets/{repository}"
        return (
            f"{repository} is gated: accept its terms at https://huggingface.co/{page}, then log in with "
            f"`hf auth login` (or set HF_TOKEN) where {kind} are fetched"
        )
    if isinstance(error, RevisionNotFoundError):
        return (
            f"{repository} has no commit {revision}, or no longer: give another `revision`; where the row names "
            f"none, delete {_RECORDED[kind]}.revision.json, which recorded it, to take the newest"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the hub has no repository {repository}, or it is private: correct the row's id, or log in with "
            "`hf auth login`"
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{repository} at {revision or 'its newest commit'} cannot be fetched from the hub ({reason}): fetch "
        f"{kind} where there is a network; what has arrived is kept"
    )


def outside(names: Iterable[str]) -> str | None:
    """The first of a repository's files whose name leads out of it, if any."""
    paths = ((name, PurePosixPath(name)) for name in names)
    return next((name for name, path in paths if path.is_absolute() or ".." in path.parts), None)


def is_whole(file: Path, sibling: Any) -> bool:
    """Whether a file has the size and, if it is a large one, the checksum that the hub states."""
    if not file.is_file() or (sibling.size is not None and file.stat().st_size != sibling.size):
        return False
    return sibling.lfs is None or file_sha256(file) == sibling.lfs.sha256
