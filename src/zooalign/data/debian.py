"""Debian packages as a source of data: downloaded by apt without root, unpacked without dpkg."""

from __future__ import annotations

import io
import posixpath
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from zooalign.errors import DatasetError
from zooalign.progress import Report
from zooalign.storage.atomic import replacing

# Seconds after which a download is given up.
TIMEOUT_S = 1800
# Links that lead to links, as many as Linux follows.
_MAX_HOPS = 40


def unpacked(package: str, subtree: str, cache: Path, report: Report) -> tuple[Path, str]:
    """Folder with the files of a package, fetched and unpacked at most once.

    Parameters
    ----------
    package : str
        Name of a Debian package that holds data only.
    subtree : str
        The folder of the package that is wanted ("usr/share/wordnet").
    cache : pathlib.Path
        Folder that keeps the .deb and what was unpacked. A .deb that somebody put there is used as it is,
        so a machine without apt can be given one.

    Returns
    -------
    tuple of pathlib.Path and str
        The unpacked `subtree`, and the version of the package.

    Raises
    ------
    DatasetError
        Without apt-get, without package lists, if the download fails, or for a damaged .deb.
    """
    cache.mkdir(parents=True, exist_ok=True)
    deb = _newest(cache, package)
    if deb is None:
        report(f"downloading Debian package {package}")
        _download(package, cache)
        deb = _newest(cache, package)
        if deb is None:
            raise DatasetError(f"apt-get download {package} left no {package}_*.deb in {cache}; run it by hand.")
    target = cache / "unpacked" / deb.stem
    if not target.is_dir():
        with replacing(target) as staging:
            staging.mkdir()
            _extract(deb, subtree, staging)
    folder = target / subtree
    if not folder.is_dir():
        raise DatasetError(f"{deb}: has no {subtree}; this release of the package is laid out differently.")
    return folder, unquote(deb.name.split("_")[1])


def _newest(cache: Path, package: str) -> Path | None:
    return max(cache.glob(f"{package}_*.deb"), default=None)


def _download(package: str, cache: Path) -> None:
    """Let apt download a package; it comes to `cache` only when it is whole."""
    if shutil.which("apt-get") is None:
        raise DatasetError(
            f"Debian package {package} is needed, but this machine has no apt-get. On a Debian machine "
            f"run `apt-get download {package}` and put the .deb into {cache}; or use another dataset (emoji)."
        )
    # A folder of its own: two families may download into one cache at a time.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as staging:
        try:
            done = subprocess.run(
                ["apt-get", "download", "--quiet", package],
                cwd=staging,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DatasetError(f"apt-get download {package} took over {TIMEOUT_S} s; check the network.") from error
        if done.returncode != 0:
            raise DatasetError(_explained(package, done.stderr))
        for deb in Path(staging).glob("*.deb"):
            deb.rename(cache / deb.name)


def _explained(package: str, stderr: str) -> str:
    said = " ".join(line for line in stderr.splitlines() if line.startswith("E:")) or stderr.strip()[-300:]
    if "Unable to locate" in said or "No packages found" in said or "Can't select" in said:
        return (
            f"apt does not know the Debian package {package} ({said}). Its lists are missing or old: run "
            "`apt-get update` (as root) once. On another distribution use another dataset (emoji)."
        )
    return f"apt-get download {package} failed: {said} Check the network and the lists (`apt-get update`)."


def _extract(deb: Path, subtree: str, target: Path) -> None:
    """Unpack one folder of a .deb: an `ar` archive with a compressed tar of the files.

    Only regular files and folders are made, so nothing can be written through a link; the checks are our own because
    those of :mod:`tarfile` (extraction filters) came with Python 3.11.4.
    """
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_data_tar(deb)), mode="r:*") as tar:
            for member in tar:
                name = _confined(member.name)
                if not PurePosixPath(name).is_relative_to(subtree) or member.isdir():
                    continue
                if member.issym():
                    links[name] = _confined(posixpath.join(posixpath.dirname(name), member.linkname), link=name)
                elif member.islnk():
                    links[name] = _confined(member.linkname, link=name)
                elif (content := tar.extractfile(member)) is not None:
                    path = target / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with content, path.open("wb") as file:
                        shutil.copyfileobj(content, file)
                else:
                    raise ValueError(f"{name} is neither a file nor a folder nor a link")
        _copy_links(links, target)
    except (OSError, ValueError, tarfile.TarError, EOFError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise DatasetError(f"{deb}: damaged Debian package ({error}); delete it and build again.") from error


def _confined(name: str, link: str = "") -> str:
    """Return a path of the archive in its shortest form; ValueError if it leads out of the archive."""
    path = posixpath.normpath(name)
    if path.startswith("/") or path.split("/")[0] == ".." or (not link and ".." in name.split("/")):
        raise ValueError(f"{link or name} leads out of the package" + (f": it is a link to {name}" if link else ""))
    return path


def _copy_links(links: dict[str, str], target: Path) -> None:
    """Put a copy of the file in the place of each link; one whose file was not unpacked is left out."""
    for name, destination in links.items():
        for _ in range(_MAX_HOPS):  # links to links
            destination = links.get(destination, destination)
        if (target / destination).is_file():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target / destination, path)


def _data_tar(deb: Path) -> bytes:
    with deb.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError("no ar archive")
        while header := file.read(60):
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
            data = file.read(size + size % 2)[:size]
            if len(data) < size:
                raise ValueError("it ends early")
            if name == "data.tar.zst":
                import zstandard

                return zstandard.ZstdDecompressor().decompressobj().decompress(data)
            if name.startswith("data.tar"):
                return data
    raise ValueError("no data.tar in it")
