"""Tasks submitted from Python."""

import contextlib
import textwrap
from pathlib import Path

import numpy as np
import psutil
import pytest

from zooalign.errors import ConfigError

pytestmark = pytest.mark.workflow


TASKS = """
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from zooalign.submit.submission import Task

    @dataclass(frozen=True)
    class Note(Task):
        folder: Path
        name: str
        fails: bool = False

        def _title(self):
            return f"note {self.name}"

        def _log(self):
            return self.folder / "log"

        def _needs(self, cluster):
            return {"mem_mb": 100, "runtime": 5, "cpus_per_task": 1}

        def __call__(self):
            with open(self.folder / "notes", "a") as file:
                print("begin", file=file, flush=True)
                time.sleep(0.5)
                print("end", file=file, flush=True)
            if self.fails:
                raise ValueError(f"no {self.name}")
            return self.name
"""


@pytest.fixture
def note(tmp_path, monkeypatch):
    """A task of a user's own module."""
    (tmp_path / "my_tasks.py").write_text(textwrap.dedent(TASKS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    import my_tasks

    return lambda name, **options: my_tasks.Note(tmp_path, name, **options)


def test_never_more_jobs_at_a_time_than_asked(note, tmp_path):
    from zooalign.submit.submission import JobOptions, submit

    said = []
    tasks = [note(str(i)) for i in range(5)]
    found = submit(tasks, "local", JobOptions(max_jobs=2), log_folder=tmp_path / "logs", report=said.append)
    assert found == ["0", "1", "2", "3", "4"]
    steps = [1 if line == "begin" else -1 for line in (tmp_path / "notes").read_text().split()]
    assert max(np.cumsum(steps)) <= 2
    assert sum(line.endswith("done") or " done: " in line for line in said) == 5
    assert list((tmp_path / "logs").iterdir()) == []


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_results_of_the_good_jobs_come_with_the_error(note, tmp_path, cluster):
    from zooalign.submit.submission import FailedJobsError, submit

    tasks = [note("a"), note("b", fails=True), note("c")]
    with pytest.raises(FailedJobsError, match=r"1 of 3 jobs failed; .*\n- .*note b.*no b") as caught:
        submit(tasks, cluster, log_folder=tmp_path / "logs", report=lambda message: None)
    assert caught.value.results == ["a", None, "c"]


def test_leaving_returns_the_ids_of_jobs_that_go_on(note, tmp_path):
    from zooalign.submit.submission import submit

    [number] = submit([note("a")], "local", wait=False, log_folder=tmp_path / "logs", report=lambda message: None)
    process = psutil.Process(int(number))
    process.wait(200)
    assert (tmp_path / "notes").read_text().split() == ["begin", "end"]


def test_options_of_the_user_win_over_the_manifest(finished):
    from zooalign.config.sweep import load_sweep, read_config
    from zooalign.layout import Layout
    from zooalign.submit.submission import Extraction, JobOptions, Row, ShardExtraction
    from zooalign.workflow.resources import job_resources

    with contextlib.chdir(finished.folder):
        sweep, layout = load_sweep(read_config(Path("config.yaml"))), Layout(Path("results"))
        task = Extraction(sweep, layout, "vit_a", "synthetic")
        expected = job_resources(sweep, "extract_features", ("synthetic", "vit_a"), 1, True)
        assert JobOptions().asked(task, True) == expected
        asked = JobOptions(timeout_min=7, mem_gb=1.5, cpus=3, gpus=0, partition="big").asked(task, True)
        assert asked == {**expected, "runtime": 7, "mem_mb": 1536, "cpus_per_task": 3, "gpu": 0,
                         "slurm_partition": "big"}  # fmt: skip
        # A row whose features are there needs no GPU; one whose features are not needs what extraction needs.
        row = Row(sweep, layout, "vit_a", "synthetic")
        assert row.needs(True).get("gpu", 0) == 0
        bare = Row(sweep, Layout(Path("nothing")), "vit_b", "synthetic").needs(True)
        assert bare["gpu"] == expected["gpu"]
        assert bare["mem_mb"] >= expected["mem_mb"]
        assert bare["runtime"] > row.needs(True)["runtime"]
        part = ShardExtraction(sweep, layout, "vit_a", "synthetic", 1, 4).needs(True)
        assert part["runtime"] <= expected["runtime"]


def test_tasks_are_requeued_as_they_are():
    import pickle

    import submitit

    from zooalign.submit.submission import Extraction, Merge, Row, Score, ShardExtraction

    for task in (
        Extraction(None, None, "m", "d"),
        ShardExtraction(None, None, "m", "d", 1, 2),
        Merge(None, None, "m", "d"),
        Row(None, None, "m", "d"),
        Score("x", "y", Path("z.json")),
    ):
        again = task.checkpoint()
        assert isinstance(again, submitit.helpers.DelayedSubmission)
        assert again.function == task
        assert pickle.loads(pickle.dumps(task)) == task


def test_file_names_of_scores_differ():
    from zooalign.cli.submit import score_names

    assert score_names("a/x.npy", ["f.npz:one", "f.npz:two"]) == ["x--f-one", "x--f-two"]
    assert len(set(score_names("x", ["a/b/c.zarr", "d/b/c.zarr", "c.zarr"]))) == 3
    with pytest.raises(ConfigError, match=r"'a/c\.zarr' is asked for twice"):
        score_names("x", ["a/c.zarr", "b.zarr", "a/c.zarr"])
