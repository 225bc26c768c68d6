"""A small finished sweep on real models, shared by all workflow tests; each works on a copy of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from .forks import run_snakemake

ROOT = Path(__file__).parents[2]
# Three for speed; test_reruns.py makes all.
TABLES = ("alignment", "capability_alignment", "populations")
# Jobs that make all tables, figures and the report of the small sweep.
RESULTS = {**{f"make_table_{name}": 1 for name in TABLES}, "make_figure": 1, "make_report": 1}
VISION = {
    "modality": "vision",
    "source": "random",
    "family": "random",
    "objective": "random",
    "pooling": "cls",
    "parameters": 300_000,
    "licence": "Apache-2.0",
}
PREPROCESSING = {
    "input_size": [3, 32, 32],
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def tiny_vit(name, seed):
    """Row of a small random vision transformer: real code path, a second of compute."""
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
    return {
        "id": name,
        **VISION,
        "options": {
            "library": "timm",
            "architecture": "vit_tiny_patch16_224",
            "architecture_options": options,
            "seed": seed,
            "preprocessing": PREPROCESSING,
        },
    }


def packaged(*names):
    """Rows of the shipped manifest."""
    rows = yaml.safe_load((ROOT / "config/zoo/packaged.yaml").read_text())["models"]
    found = {row["id"]: row for row in rows}
    return [found[name] for name in names]


def counted(text):
    """Jobs by rule, from what Snakemake says before a run."""
    found = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", text, re.M)}
    return {rule: n for rule, n in found.items() if rule not in ("total", "all")}


class Checkout:
    """A working directory with its own configuration and results; the workflow is the repository's."""

    def __init__(self, folder):
        self.folder = folder
        self.config = {
            "zoo": ["zoo.yaml"],
            "dataset_files": str(ROOT / "config/datasets"),
            "datasets": ["synthetic"],
            "metrics": {"mutual_knn": {"k": [5, 10]}, "cka": {}},
            "capabilities": [{"id": "shapes", "kind": "linear_probe", "dataset": "synthetic"}],
            "tables": list(TABLES),
            "figures": ["heat_map"],
            "extraction": {"workers": 0},
            # Shapes are kinds of drawings, not drawings that belong together.
            "inference": {"null": "headline", "permutations": 20, "splits": 10, "groups": False},
        }
        self.models = [tiny_vit("vit_a", 1), tiny_vit("vit_b", 2), *packaged("wordllama", "textgenrnn")]

    def write(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        (self.folder / "zoo.yaml").write_text(yaml.safe_dump({"models": self.models}))

    def snakemake(self, *arguments, check=True, timeout=1500):
        self.write()
        command = ["--snakefile", ROOT / "Snakefile", "--cores", "2",
                   "--workflow-profile", ROOT / "profiles/default", *arguments]  # fmt: skip
        done = run_snakemake(command, self.folder, {**os.environ, "OMP_NUM_THREADS": "1"}, timeout)
        if check and done.returncode:
            raise AssertionError(done.stdout[-3000:] + done.stderr[-6000:])
        return done

    def due(self):
        """Jobs that the next run will do, by rule, as Snakemake counts them."""
        text = self.snakemake("-n", "--quiet", "rules").stdout
        return counted(text)

    def cli(self, *arguments):
        self.write()
        return subprocess.run([sys.executable, "-m", "zooalign.cli", *arguments], cwd=self.folder, text=True,
                              capture_output=True, timeout=600)  # fmt: skip

    def receipt(self, model, dataset="synthetic"):
        return json.loads((self.folder / f"results/alignment/{dataset}/{model}.receipt.json").read_text())

    def receipts(self):
        return {m["id"]: self.receipt(m["id"]) for m in self.models}

    def pairs(self):
        """Pairs that each row's last update computed."""
        return {model: receipt["computed_pairs"] for model, receipt in self.receipts().items()}

    def bytes(self, *names):
        return {name: (self.folder / "results" / name).read_bytes() for name in names}


@pytest.fixture(scope="session")
def finished(shared):
    """The finished sweep itself, made by the first worker that asks for it: never change it."""
    folder = shared / "finished"
    checkout = Checkout(folder / "checkout")
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "said.json").exists():
            done = checkout.snakemake()
            (folder / "said.json").write_text(json.dumps([done.stdout, done.stderr]))
    checkout.said = "".join(json.loads((folder / "said.json").read_text()))
    return checkout


@pytest.fixture
def sweep(finished, tmp_path):
    """A copy of the finished sweep, to change as the test likes."""
    copy = Checkout(tmp_path / "checkout")
    shutil.copytree(finished.folder, copy.folder, symlinks=True)
    return copy
