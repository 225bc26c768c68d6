"""On the PYTHONPATH of drills of rows: notes every pair that is compared, and makes each take a while.

Does what the other `sitecustomize` does for batches, too. The folder ZOOALIGN_DRILL holds `pair_pause` (seconds per
pair) and `pairs.jsonl` (a line when the comparison of a pair begins and a line when it has ended). A pair is seen by
its CKA, which every sweep of these tests has once per pair.
"""

import contextlib
import importlib.abc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path


def _instrument(metric, folder):
    matrix = metric.matrix

    def noted(x, y, k=None):
        pair = {"x": x.name, "y": y.name, "pid": os.getpid(), "job": os.environ.get("SLURM_JOB_ID")}
        _note(folder, event="begin", **pair)
        with contextlib.suppress(OSError, ValueError), open(os.path.join(folder, "pair_pause")) as file:
            time.sleep(float(file.read()))
        found = matrix(x, y, k)
        _note(folder, event="end", **pair)
        return found

    metric.matrix = noted


def _note(folder, **what):
    with open(os.path.join(folder, "pairs.jsonl"), "ab", buffering=0) as file:
        file.write(json.dumps({**what, "time": time.time()}).encode() + b"\n")


class _Finder(importlib.abc.MetaPathFinder):
    """Instruments the metric when it is imported, and is gone then."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path, target=None):
        if name != "zooalign.metrics.cka":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            _instrument(module, self.folder)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("ZOOALIGN_DRILL"):
    sys.meta_path.insert(0, _Finder(os.environ["ZOOALIGN_DRILL"]))
    other = Path(__file__).parents[1] / "instrumented" / "sitecustomize.py"
    exec(compile(other.read_text(), other, "exec"), {"__name__": "batches"})
