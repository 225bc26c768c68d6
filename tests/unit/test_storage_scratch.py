"""Node-local scratch: one copy per node and content, never outside its folder, and no job fails for want of it."""

import json
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from zooalign.errors import ConfigError
from zooalign.storage import scratch
from zooalign.storage.scratch import local_copy

CONTENT = {"model.safetensors": b"w" * 5000, "nested/tokenizer.json": b"{}"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A weights folder, a scratch folder, and a function that asks for the copy."""
    source, root = tmp_path / "results" / "vit", tmp_path / "scratch"
    root.mkdir()
    monkeypatch.setattr(scratch, "_HEADROOM", 0)
    lines = []

    def fill(content=CONTENT, **record):
        for name, data in content.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
        about = {"model": "vit", "sizes": {name: len(data) for name, data in content.items()}, **record}
        (source / "weights.json").write_text(json.dumps(about))

    fill()
    return SimpleNamespace(
        source=source, root=root, lines=lines, fill=fill,
        copy=lambda where=str(root): local_copy(source, where, lines.append),
    )  # fmt: skip


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_without_the_setting_the_folder_is_read_in_place(node):
    assert node.copy(None) == node.source
    assert node.lines == []


def test_the_copy_is_whole_private_and_made_once(node):
    copied = node.copy()
    base = node.root / f"zooalign-{os.getuid()}"
    assert copied.parent == base
    assert base.stat().st_mode & 0o777 == 0o700
    assert files(copied) == files(node.source)
    assert node.copy() == copied
    assert len(node.lines) == 1
    assert node.lines[0].startswith(f"copied {node.source} to {copied}: 0.0 MiB in")
    assert [p.name for p in base.iterdir()] == [copied.name]


def test_other_content_has_another_name(node):
    first = node.copy()
    node.fill({**CONTENT, "model.safetensors": b"v" * 5000}, version=2)
    second = node.copy()
    assert second != first
    assert (first / "model.safetensors").read_bytes() == b"w" * 5000
    assert (second / "model.safetensors").read_bytes() == b"v" * 5000


def test_variables_are_expanded_and_a_missing_one_is_named(node, monkeypatch):
    monkeypatch.setenv("NODE_DISK", str(node.root.parent))
    monkeypatch.delenv("SLURM_TMPDIR", raising=False)
    assert node.root in node.copy("$NODE_DISK/scratch").parents
    assert node.root in node.copy("${NODE_DISK}/scratch").parents
    for where in ("$SLURM_TMPDIR", "$NODE_DISK/${SLURM_TMPDIR}"):
        with pytest.raises(ConfigError, match=r"jobs\.scratch: .* names the variable SLURM_TMPDIR, which is not set"):
            node.copy(where)
    with pytest.raises(ConfigError, match="give an absolute folder"):
        node.copy("scratch")


@pytest.mark.parametrize("why", ["missing", "full", "link", "open to others", "not writable", "a file"])
def test_a_scratch_that_cannot_be_used_costs_one_line(node, monkeypatch, why):
    where, base = str(node.root), node.root / f"zooalign-{os.getuid()}"
    if why == "missing":
        where = str(node.root / "nowhere")
    elif why == "full":
        monkeypatch.setattr(scratch, "_HEADROOM", 2**60)
    elif why == "link":
        (node.root / "elsewhere").mkdir()
        base.symlink_to(node.root / "elsewhere")
    elif why == "open to others":
        base.mkdir()
        base.chmod(0o777)
    elif why == "a file":
        base.write_text("")
    else:
        monkeypatch.setattr(scratch.os, "getuid", lambda: 12345)  # a folder of that name that is not ours
    assert node.copy(where) == node.source
    assert len(node.lines) == 1
    assert node.lines[0].startswith("scratch is not used: ")
    assert node.lines[0].endswith(f"{node.source} is read in place")
    assert not list((node.root / "elsewhere").glob("*"))


def test_a_disk_that_fills_up_while_copying_leaves_nothing_behind(node, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch.shutil, "copyfileobj", full)
    assert node.copy() == node.source
    assert "is full" in node.lines[0]
    assert list((node.root / f"zooalign-{os.getuid()}").iterdir()) == []


def test_links_are_not_followed(node):
    secret = node.root.parent / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"k" * 5000)
    (node.source / "model.safetensors").unlink()
    (node.source / "model.safetensors").symlink_to(secret / "key")
    assert node.copy() == node.source
    assert "is a link" in node.lines[-1]
    (node.source / "model.safetensors").unlink()
    (node.source / "model.safetensors").write_bytes(b"w" * 5000)
    (node.source / "nested" / "tokenizer.json").unlink()
    (node.source / "nested").rmdir()
    (node.source / "nested").symlink_to(secret)
    (secret / "tokenizer.json").write_bytes(b"{}")
    assert node.copy() == node.source
    assert "is behind a link" in node.lines[-1]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_record_that_names_files_outside_is_refused(node, name):
    node.fill(sizes={name: 3})
    assert node.copy() == node.source
    assert "may lie outside" in node.lines[0]
    assert not (node.root / "outside").exists()


def test_a_truncated_original_is_not_copied(node):
    (node.source / "model.safetensors").write_bytes(b"w")
    assert node.copy() == node.source
    assert "has another size than its record says" in node.lines[0]


def test_a_damaged_copy_is_made_again(node):
    copied = node.copy()
    (copied / "nested" / "tokenizer.json").unlink()
    assert node.copy() == copied
    assert files(copied) == files(node.source)


def test_a_folder_without_files_of_its_own_is_read_in_place(node):
    node.fill(sizes={})
    assert node.copy() == node.source
    assert node.lines == []


def test_many_jobs_of_a_node_copy_once(node):
    code = textwrap.dedent(
        f"""
        from pathlib import Path
        from zooalign.storage import scratch
        scratch._HEADROOM = 0
        copied = scratch.local_copy(Path({str(node.source)!r}), {str(node.root)!r}, print)
        assert (copied / "model.safetensors").read_bytes() == b"w" * 5000
        """
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    said = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 6
    assert sum("copied " in out for out in said) == 1


def test_a_job_killed_while_copying_blocks_nobody(node):
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from zooalign.storage import scratch
        scratch._HEADROOM = 0
        scratch.shutil.copyfileobj = lambda *a: (print("copying", flush=True), time.sleep(600))
        scratch.local_copy(Path({str(node.source)!r}), {str(node.root)!r}, lambda line: None)
        """
    )
    job = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "copying\n"
    job.kill()
    job.communicate()
    copied = node.copy()
    assert files(copied) == files(node.source)
    assert [p.name for p in copied.parent.iterdir()] == [copied.name]
