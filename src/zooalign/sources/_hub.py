"""Files of a pinned hub repository, fetched where there is a network."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from zooalign.errors import WeightsError
from zooalign.network import remedy


def fetch_repository(repository: str, revision: str, folder: Path, patterns: Sequence[str]) -> None:
    """Fetch the matching files of one commit into `folder`.

    Parameters
    ----------
    repository : str
        "owner/name".
    revision : str
        Commit, 40 hexadecimal digits.
    folder : Path
        Existing folder.
    patterns : sequence of str
        Shell patterns of the files to fetch.

    Raises
    ------
    WeightsError
        If the repository, the commit or the network is missing, or it wants an accepted licence.
    """
    from huggingface_hub import is_offline_mode, snapshot_download

    if is_offline_mode():
        # The client would take a folder that is not empty for the repository.
        raise WeightsError(f"files of {repository} at {revision} are not here: {remedy('fetch_weights')}")
    try:
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(patterns))
    except Exception as error:  # whatever the hub's client and its HTTP library raise: no network, no such commit
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"{repository} at {revision} cannot be fetched from the hub ({reason}): fetch weights where "
            "there is a network, and log in to the hub if the model asks for it"
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own book-keeping, with times in it
