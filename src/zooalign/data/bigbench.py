"""The source archive of the package bigbench, read as data: nothing in it is installed, imported or run."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from zooalign.errors import DatasetError
from zooalign.network import sdist
from zooalign.progress import Report
from zooalign.provenance import file_sha256

NAME, RELEASE = "bigbench", "1.0.0"
SHA256 = "1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2"
AUTHORS = "The authors of BIG-bench (Srivastava et al. 2022)"


def examples(task: str, cache: Path, name: str, report: Report) -> list[dict[str, Any]]:
    """Examples of a task; 358 MB are downloaded once.

    Parameters
    ----------
    task : str
        Its folder, "goal_step_wikihow/step_inference".
    cache : Path
        Folder that keeps the archive; one that somebody put there is used.
    name : str
        Dataset, for messages.
    report : Report

    Returns
    -------
    list of dict
        As the task's JSON has them: `input` and `target_scores`.

    Raises
    ------
    DatasetError
        If the archive cannot be had, is another one, or has no such task.

    Notes
    -----
    The archive's checksum is compared before it is read.
    """
    report(f"{name}: {NAME}-{RELEASE}.tar.gz, 358 MB, unless it is in {cache.name}")
    archive = sdist(NAME, RELEASE, SHA256, cache, DatasetError)
    if file_sha256(archive) != SHA256:
        raise DatasetError(f"{archive}: not the published archive (its SHA-256 differs); delete it and build again.")
    path = f"{NAME}-{RELEASE}/bigbench/benchmark_tasks/{task}/task.json"
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # In the archive's order: looking it up by name would read all of it.
            member = next(member for member in tar if member.name == path)
            content = tar.extractfile(member)
            if content is None:
                raise ValueError(f"{path} is no file")
            return json.load(content)["examples"]
    except (OSError, EOFError, ValueError, KeyError, StopIteration, tarfile.TarError) as error:
        reason = str(error) or f"it has no {path}"
        raise DatasetError(f"{archive} cannot be read ({reason}); delete it and build again.") from error


def answer(example: dict[str, Any], where: str) -> str:
    """The one right answer of an example.

    Raises
    ------
    DatasetError
        If none or several are right.
    """
    right = [text for text, score in example["target_scores"].items() if score == 1]
    if len(right) != 1:
        raise DatasetError(f"{where}: {len(right)} right answers where one is expected.")
    return right[0]
