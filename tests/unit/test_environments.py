"""Pinned environments say the same as pyproject.toml, and the checkout shows the house."""

import importlib.util
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = dict(p.split("==") for p in PROJECT["dependencies"])
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = dict(p.split("==") for extra in ("test", "docs", "training") for p in EXTRAS[extra])


def lock():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_dependency_is_pinned_exactly():
    assert all("==" in p for p in PROJECT["dependencies"])
    assert PINNED["torch"] == "2.13.0"


def test_one_range_of_pythons_everywhere():
    """The package, the setup and the README promise the same, and nothing that this range lacks is used."""
    assert PROJECT["requires-python"] == ">=3.11.2,<3.14"
    assert "(3, 11, 2) <= sys.version_info[:3] < (3, 14)" in (ROOT / "run.sh").read_text()
    assert "Python 3.11.2 to 3.13" in (ROOT / "README.md").read_text()
    for file in (ROOT / "src").rglob("*.py"):
        # Extraction filters came with Python 3.11.4, and without them both trust the archive.
        assert not re.search(r"\b(extractall|unpack_archive)\(", file.read_text()), file


def test_setup_refuses_a_python_that_was_named_and_does_not_fit(tmp_path):
    """It takes no other one silently; where none is named, the message says what to install."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    shutil.copy(ROOT / "run.sh", tmp_path)
    for name in ("pyproject.toml", "requirements.lock", "config.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    environment = {**os.environ, "PYTHON": str(old)}
    done = subprocess.run(["bash", "run.sh", "setup"], cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 2
    assert "needs Python 3.11.2 to 3.13 with venv and pip" in done.stderr
    assert f"not {old}" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_lock_holds_every_direct_dependency_at_its_version():
    locked = lock()
    assert {name: locked.get(name) for name in {**PINNED, **LOCKED}} == {**PINNED, **LOCKED}


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_conda_environment_equals_pyproject(name):
    text = (ROOT / "envs" / f"{name}.yaml").read_text()
    spec = importlib.util.spec_from_file_location("make", ROOT / "envs" / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert text == make.environment(name)
    pip = yaml.safe_load(text)["dependencies"][-1]["pip"]
    found = dict(p.replace("+cpu", "").split("==") for p in pip if "==" in p)
    assert found == PINNED


def test_weight_packages_of_the_manifest_are_installed_by_the_setup():
    rows = "".join(f.read_text() for f in (ROOT / "config/zoo").glob("*.yaml"))
    named = set(re.findall(r"package: ([\w.-]+==[\w.]+)", rows))
    listed = "".join((ROOT / f"envs/packages{part}.txt").read_text() for part in ("", "-gemma", "-more"))
    assert named
    assert {p for p in named if p not in listed} == set()


def test_slurm_profile_is_found_by_its_documented_name():
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm" / "config.yaml").resolve() == ROOT / "profiles/slurm/config.yaml"


def test_a_checkout_whose_path_has_a_space_is_refused_at_once(tmp_path):
    folder = tmp_path / "my checkout"
    folder.mkdir()
    (folder / "run.sh").write_bytes((ROOT / "run.sh").read_bytes())
    done = subprocess.run(["bash", folder / "run.sh", "-n"], text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "my checkout" in done.stderr
    assert not (folder / ".venv").exists()
