"""The rules of the house that programs can check."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, timeout=300):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, text=True, capture_output=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("codespell_lib",),
        ("snakefmt", "--check", "Snakefile", "workflow"),
    ],
    ids=lambda c: " ".join(c),
)
def test_lint(command):
    run(*command)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("node") is None, reason="pyright needs Node.js")
def test_types():
    """No finding in the whole library, as the oldest Python sees it."""
    run("pyright", "--warnings", timeout=1700)


def test_every_adapter_is_thin():
    """An adapter maps a rule to one function of the library; logic belongs there."""
    for script in (ROOT / "workflow/scripts").glob("*.py"):
        assert len(script.read_text().splitlines()) < 30, script
        assert script.stem in "".join(f.read_text() for f in (ROOT / "workflow/rules").glob("*.smk"))


def test_library_never_reads_snakemake():
    for file in (ROOT / "src").rglob("*.py"):
        assert "import snakemake" not in file.read_text(), file
        assert "snakemake." not in file.read_text(), file
