"""Debian packages are unpacked inside their folder, whatever their members say."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from zooalign.data.debian import unpacked
from zooalign.errors import DatasetError

SUBTREE = "usr/share/toy"


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, len(data)
    return entry, data


def write_deb(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    """A .deb as dpkg lays it out: an `ar` archive of version, control and data."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w:xz") as tar:
        for entry, data in members:
            tar.addfile(entry, io.BytesIO(data))
    folder.mkdir(exist_ok=True)
    with (folder / "toy_1%3a2_all.deb").open("wb") as file:
        file.write(b"!<arch>\n")
        for name, data in ("debian-binary", b"2.0\n"), ("data.tar.xz", tar_bytes.getvalue()):
            file.write(
                f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n"[: len(data) % 2]
            )


def unpack(cache: Path) -> tuple[Path, str]:
    return unpacked("toy", SUBTREE, cache, lambda line: None)


def test_one_folder_is_unpacked_and_links_become_copies(tmp_path):
    write_deb(
        tmp_path / "cache",
        member("./usr/share/toy", tarfile.DIRTYPE),
        member("./usr/share/toy/b/link.txt", tarfile.SYMTYPE, "../a.txt"),
        member("./usr/share/toy/again.txt", tarfile.SYMTYPE, "b/link.txt"),
        member("./usr/share/toy/a.txt", data=b"words"),
        member("./usr/share/toy/hard.txt", tarfile.LNKTYPE, "./usr/share/toy/a.txt"),
        member("./usr/share/toy/dangling.txt", tarfile.SYMTYPE, "nowhere.txt"),
        member("./usr/share/toy/circle.txt", tarfile.SYMTYPE, "circle.txt"),
        member("./usr/share/toy/folder", tarfile.SYMTYPE, "b"),
        member("./usr/share/toys/other.txt", data=b"another package's"),
        member("./usr/share/doc/copyright", data=b"left out"),
    )
    folder, version = unpack(tmp_path / "cache")
    assert version == "1:2"
    files = {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert files == dict.fromkeys(("a.txt", "b/link.txt", "again.txt", "hard.txt"), "words")
    assert not any(p.is_symlink() for p in folder.rglob("*"))
    assert [p.name for p in folder.parent.iterdir()] == ["toy"]


@pytest.mark.parametrize(
    "evil",
    [
        member("/usr/share/toy/evil.txt", data=b"evil"),
        member("./usr/share/toy/../../../../../evil.txt", data=b"evil"),
        member("./usr/share/toy/a/../evil.txt", data=b"evil"),
        member("./usr/share/toy/evil.txt", tarfile.SYMTYPE, "/etc/passwd"),
        member("./usr/share/toy/evil.txt", tarfile.SYMTYPE, "../../../../evil.txt"),
        member("./usr/share/toy/evil.txt", tarfile.LNKTYPE, "/etc/passwd"),
        member("./usr/share/toy/evil.txt", tarfile.FIFOTYPE),
        member("./usr/share/toy/evil.txt", tarfile.CHRTYPE),
    ],
    ids=lambda m: f"{m[0].name} {m[0].linkname} {m[0].type.decode()}",
)
def test_what_leads_out_of_the_package_is_refused(tmp_path, evil):
    write_deb(tmp_path / "cache", member("./usr/share/toy/a.txt", data=b"words"), evil)
    with pytest.raises(
        DatasetError, match=r"damaged Debian package .*(evil.txt leads out|neither a file nor a folder)"
    ):
        unpack(tmp_path / "cache")
    assert not list(tmp_path.rglob("evil*"))
    assert not list(tmp_path.rglob("a.txt"))


def test_nothing_is_written_through_a_link(tmp_path):
    """A link to a folder outside, and then a file in it: the link is refused before the file is written."""
    (tmp_path / "outside").mkdir()
    write_deb(
        tmp_path / "cache",
        member("./usr/share/toy/door", tarfile.SYMTYPE, str(tmp_path / "outside")),
        member("./usr/share/toy/door/evil.txt", data=b"evil"),
    )
    with pytest.raises(DatasetError, match="door leads out of the package: it is a link to"):
        unpack(tmp_path / "cache")
    assert not list((tmp_path / "outside").iterdir())
