"""In two processes one measures, and the training stays the same."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = ["alignment/seconds", "alignment/x/mutual_knn@10", "alignment/x/mutual_knn@10_layer"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "keys_of_the_other"), [("trainer", []), ("lightning", KEYS)])
def test_process_zero_measures_and_the_weights_stay_the_same(kind, keys_of_the_other, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "torch.distributed.run",
        "--nproc_per_node=2",
        f"--master_port={port}",
        "-m",
        "tests.unit.two_processes",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    subprocess.run(
        [sys.executable, "-m", *command, kind, str(tmp_path)], cwd=ROOT, env=environment, check=True, timeout=500
    )
    zero, one = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert zero == {"same": True, "count": 4, "keys": KEYS}
    assert one == {"same": True, "count": 0, "keys": keys_of_the_other}
