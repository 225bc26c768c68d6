"""On the PYTHONPATH of drills: notes every batch that is stored, and makes each take a while.

Python imports this by itself at every start. The folder ZOOALIGN_DRILL holds `pause` (seconds per batch, read anew
for each), `batches.jsonl` (a line when the writing of a batch begins and a line when it has ended) and, to let a
model run out of GPU memory once, a file `gpu_oom.{model}`.
"""

import contextlib
import importlib.abc
import importlib.util
import json
import os
import sys
import time


def _note(folder, **what):
    line = json.dumps({**what, "pid": os.getpid(), "job": os.environ.get("SLURM_JOB_ID"), "time": time.time()})
    # One write of less than a page: lines of several processes do not mix.
    with open(os.path.join(folder, "batches.jsonl"), "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def _pause(folder):
    with contextlib.suppress(OSError, ValueError), open(os.path.join(folder, "pause")) as file:
        time.sleep(float(file.read()))


def _run_out_of_memory(folder, model):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, f"gpu_oom.{model}"))
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. (drill)")


def _instrument(store, folder):
    append = store.FeatureWriter.append

    def noted(self, layers):
        start, stop = self.remaining()[0]
        batch = {"store": self.path.name, "start": start, "stop": stop}
        _note(folder, event="begin", **batch)
        _pause(folder)
        _run_out_of_memory(folder, self.path.stem)
        append(self, layers)
        _note(folder, event="end", **batch)

    store.FeatureWriter.append = noted


class _Finder(importlib.abc.MetaPathFinder):
    """Instruments zooalign.features.store when it is imported, and is gone then."""

    def __init__(self, folder):
        self.folder = folder

    def find_spec(self, name, path, target=None):
        if name != "zooalign.features.store":
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
