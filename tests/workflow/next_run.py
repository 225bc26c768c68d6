"""What the next run does with a damaged results folder, in a process of its own; see test_random_damage.py.

Run as a program: it reads a checkout per line, and for each answers with what happened as JSON. A crash of the
kernels is a crash of a fork of this process.
"""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

# Runs until everything is done: one that removes the record of what is damaged, one that makes it, and one to spare.
ROUNDS = 6


def main():
    import matplotlib.pyplot  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401
    import zarr  # noqa: F401

    import zooalign.alignment.row
    import zooalign.figures.heat_map
    import zooalign.indexes.from_features
    import zooalign.tables.capability_alignment  # noqa: F401

    for line in sys.stdin:
        with tempfile.NamedTemporaryFile() as answer:
            child = os.fork()
            if not child:
                said = _answer(Path(line.strip()))
                Path(answer.name).write_text(json.dumps(said))
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            text = Path(answer.name).read_text()
        print(text if status == 0 else json.dumps({"crash": status}), flush=True)


def _answer(checkout):
    messages = []
    try:
        os.chdir(checkout)
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        for _ in range(ROUNDS):
            failed = _run(checkout, messages)
            if not failed:
                return {"done": True, "messages": messages}
        return {"done": False, "messages": messages}
    except BaseException:
        return {"done": False, "messages": [*messages, traceback.format_exc()]}


def _run(checkout, messages):
    """One run: every item that is not done, in the order of the workflow, each as its job does it."""
    from zooalign.config.sweep import read_config
    from zooalign.layout import Layout
    from zooalign.workflow.job import job
    from zooalign.workflow.work import Work, open_sweep

    sweep = open_sweep(read_config(checkout / "config.yaml"), [checkout])
    work = Work(sweep, Layout(checkout / "results"))
    failed = False
    for number, item in enumerate(work.all_items()):
        if work.is_done(item):
            continue
        log = checkout / f"{len(messages)}.{number}.log"
        try:
            with job(log, "job") as report:
                work.do(item, report)
        except SystemExit:
            messages.append(log.read_text())
            failed = True
    return failed


if __name__ == "__main__":
    main()
