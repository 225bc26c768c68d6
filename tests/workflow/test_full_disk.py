"""A disk that fills up in the middle of a sweep: one message per job, nothing half-written, the rest continues."""

import os
import re
import shutil
import subprocess

import pytest

from .conftest import Checkout, packaged

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting a small disk needs root"),
]


def test_full_disk_in_the_middle_of_a_sweep(tmp_path):
    checkout = Checkout(tmp_path / "checkout")
    checkout.models = packaged("wordllama", "textgenrnn", "minilm_l6")
    checkout.config["capabilities"] = []
    disk = checkout.folder / "results"
    disk.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2000k", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine does not mount: {mounted.stderr.strip()}")
    try:
        # First the dataset, so that on any machine it is the weights for which there is no room.
        checkout.snakemake("--until", "build_dataset")
        failed = checkout.snakemake(check=False)
        assert failed.returncode != 0
        # Which model it is whose weights have no room depends on which jobs come first.
        assert "ERROR: the disk is full" in failed.stderr
        assert "Traceback" not in failed.stderr
        without_room = re.findall(r"FAILED fetch_weights (\w+): the disk is full", failed.stderr)
        assert without_room
        assert not list(disk.glob("weights/*/weights.json.*"))
        for model in without_room:
            assert not (disk / "weights" / model).exists()
        assert all((folder / "weights.json").exists() for folder in disk.glob("weights/*"))
        subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        checkout.snakemake()
        assert sum(checkout.pairs().values()) == 3
    finally:
        subprocess.run(["umount", disk], check=True)
