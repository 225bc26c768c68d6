"""Files of a pinned hub repository, fetched where there is a network."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from zooalign.errors import WeightsError


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
        If the repository, the commit or the network is not there, or it wants an accepted licence.
    """
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=list(patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        message = (
            f"{repository} at {revision} cannot be fetched from the hub ({reason}): fetch weights where "
            "there is a network, and log in to the hub if the model asks for it"
        )
        raise WeightsError(message) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own book-keeping, with times in it
