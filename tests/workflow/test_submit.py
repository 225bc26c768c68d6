"""Tasks as jobs of submitit, in this process and as real processes: the same results as the workflow's."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from zooalign.errors import ConfigError
from zooalign.store import FeatureStore

from .conftest import tiny_vit

pytestmark = pytest.mark.workflow


def stored(checkout, model):
    store = FeatureStore.open(checkout.folder / f"results/features/synthetic/{model}.zarr")
    return store.digest, [store.layer(i).tobytes() for i in range(len(store.widths))]


def forget(checkout, kind, model):
    """Delete an artefact, whatever it is."""
    for path in (checkout.folder / f"results/{kind}/synthetic").glob(f"{model}.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def submit_logs(checkout):
    return sorted(p.name for p in (checkout.folder / "results/logs/submit").iterdir())


# --- the same results ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_submitted_extraction_equals_the_workflow(finished, sweep, cluster):
    for model in ("vit_a", "wordllama"):
        forget(sweep, "features", model)
    done = sweep.cli("submit", "extract", "vit_a", "wordllama", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"results/features/synthetic/{m}.zarr" for m in ("vit_a", "wordllama")]
    for model in ("vit_a", "wordllama"):
        assert stored(sweep, model) == stored(finished, model)
    assert submit_logs(sweep) == []
    assert sweep.due() == {}


def test_submitted_shards_are_joined_to_what_the_workflow_makes(finished, sweep):
    forget(sweep, "features", "vit_a")
    forget(sweep, "features", "textgenrnn")
    command = ("submit", "extract", "vit_a", "textgenrnn", "--dataset", "synthetic", "--shards", "2")
    done = sweep.cli(*command, "--cluster", "local")
    assert done.returncode == 0, done.stderr
    for model in ("vit_a", "textgenrnn"):
        assert stored(sweep, model) == stored(finished, model)
    features = sweep.folder / "results/features/synthetic"
    assert sorted(p.name for p in features.iterdir()) == [
        "textgenrnn.zarr", "vit_a.zarr", "vit_b.zarr", "wordllama.zarr",
    ]  # fmt: skip
    assert sweep.due() == {}
    # Nothing is left to do for any part of it, and nothing is done.
    before = (features / "vit_a.zarr/zarr.json").stat().st_mtime_ns
    assert sweep.cli(*command, "--cluster", "debug").returncode == 0
    assert (features / "vit_a.zarr/zarr.json").stat().st_mtime_ns == before


def test_joining_does_not_extract_again(sweep):
    """The store is that of the shards, whose rows were read by two processes."""
    forget(sweep, "features", "vit_a")
    (sweep.folder / "results/receipts/extract_features/synthetic/vit_a.json").unlink()
    log = sweep.folder / "results/logs/extract_features/synthetic/vit_a.log"
    log.unlink()
    command = ("submit", "extract", "vit_a", "--dataset", "synthetic", "--shards", "2", "--cluster", "debug")
    assert sweep.cli(*command, "--keep-shards").returncode == 0
    assert "already there" in log.read_text()
    assert "images in" not in log.read_text()
    assert sweep.due() == {}
    shards = sweep.folder / "results/features/synthetic/vit_a.zarr.shards"
    assert sorted(p.name for p in shards.iterdir()) == ["1-of-2.zarr", "2-of-2.zarr"]
    merged = sweep.cli("store", "merge", "results/features/synthetic/vit_a.zarr")
    assert merged.returncode == 0, merged.stderr
    assert "is there already" in merged.stderr
    merged = sweep.cli("store", "merge", "--model", "vit_a", "--dataset", "synthetic", "--remove")
    assert merged.returncode == 0, merged.stderr
    assert not shards.exists()


def lines(checkout, model):
    table = pq.read_table(checkout.folder / f"results/alignment/synthetic/{model}.parquet").to_pylist()
    return sorted(table, key=lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"]))


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_submitted_rows_make_what_is_missing_and_equal_the_workflow(sweep, tmp_path, cluster):
    """Two new models, whose rows share features that are not there yet."""
    sweep.models += [tiny_vit("vit_c", 3), tiny_vit("vit_d", 4)]
    other = type(sweep)(tmp_path / "other")
    shutil.copytree(sweep.folder, other.folder, symlinks=True)
    other.models = sweep.models
    other.snakemake()
    done = sweep.cli("submit", "align", "vit_c", "vit_d", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    both = [line for m in ("vit_c", "vit_d") for line in lines(sweep, m)]
    theirs = [line for m in ("vit_c", "vit_d") for line in lines(other, m)]
    key = lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"])  # noqa: E731
    assert len(both) == 9 * 3
    # Which of the two rows holds their pair depends on which came first.
    assert sorted(both, key=key) == sorted(theirs, key=key)
    # What is left are capabilities and results.
    assert sweep.due() == {"measure_capability": 2, "make_tables": 1, "make_figures": 1}


def test_submitted_scores_equal_zooalign_score(sweep):
    features = "results/features/synthetic"
    options = ("--metric", "mutual_knn,cka", "--k", "5,10", "--null", "20", "--bootstrap", "50", "--seed", "3")
    others = [f"{features}/vit_b.zarr", f"{features}/wordllama.zarr"]
    done = sweep.cli("submit", "score", f"{features}/vit_a.zarr", *others, *options, "--cluster", "local")
    assert done.returncode == 0, done.stderr
    folder = sweep.folder / "results/scores"
    for name in ("vit_b", "wordllama"):
        direct = sweep.cli("score", f"{features}/vit_a.zarr", f"{features}/{name}.zarr", *options, "--json", "d.json")
        assert direct.returncode == 0, direct.stderr
        found = (folder / f"vit_a--{name}.json").read_text()
        assert found == (sweep.folder / "d.json").read_text()
        best = json.loads(found)["best"]["cka"]["score"]
        assert f"vit_a--{name}.json: mutual_knn@5" in done.stdout
        assert f"cka {best:.4f}" in done.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["vit_a--vit_b.json", "vit_a--wordllama.json"]


def test_scores_need_no_configuration(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((50, 8)).astype(np.float32))
    command = [sys.executable, "-m", "zooalign.cli", "submit", "score", "x.npy", "y.npy", "--cluster", "debug"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/scores/x--y.json").exists()


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_a_failed_job_names_its_log_and_the_others_finish(finished, sweep, cluster):
    broken = tiny_vit("vit_broken", 5)
    broken["options"]["architecture"] = "no_such_vit"
    sweep.models.append(broken)
    forget(sweep, "features", "wordllama")
    sweep.config["jobs"] = {"fetch_on": "cluster"}  # so that the job does what fails
    done = sweep.cli("submit", "extract", "vit_broken", "wordllama", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 1
    assert done.stdout.split() == ["results/features/synthetic/wordllama.zarr"]
    assert stored(sweep, "wordllama") == stored(finished, "wordllama")
    end = done.stderr[done.stderr.index("zooalign: 1 of 2 jobs failed") :]
    assert "no_such_vit" in end
    assert "(log: results/logs/" in end
    assert "Traceback" not in end
    if cluster == "local":
        number = end.split("job ")[1].split()[0]
        assert number.isdigit()
        # The failed job's own log stays; pickles do not.
        assert submit_logs(sweep) == [f"{number}_0_log.out"]


def test_unknown_names_are_refused_before_anything_is_submitted(sweep):
    for arguments, said in [
        (("extract", "vit_aa", "--dataset", "synthetic"), "unknown model 'vit_aa': did you mean 'vit_a'"),
        (("align", "vit_a", "--dataset", "synthetik"), "unknown dataset 'synthetik': did you mean 'synthetic'"),
        (("align", "vit_a", "--dataset", "digits"), "dataset 'digits' is not compared in this sweep"),
        (("extract", "vit_a", "--dataset", "synthetic", "--cluster", "slrm"), "did you mean 'slurm'?"),
        (("score", "a.npy", "b.npy"), "a.npy: no such file or store"),
    ]:
        done = sweep.cli("submit", *arguments)
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
        assert not (sweep.folder / "results/logs/submit").exists()


def test_leaving_with_more_jobs_than_may_run_is_refused(sweep):
    done = sweep.cli("submit", "extract", "vit_a", "vit_b", "--dataset", "synthetic", "--cluster", "local",
                     "--max-jobs", "1", "--no-wait")  # fmt: skip
    assert done.returncode == 1
    assert "2 jobs, and at most 1 at a time" in done.stderr


# --- signals -------------------------------------------------------------------------------------------------------


class Slow:
    """A `zooalign submit extract` on one machine whose batches take a while and are noted."""

    def __init__(self, checkout, *arguments, workers=0):
        self.checkout, self.folder = checkout, checkout.folder / "drill"
        self.folder.mkdir(exist_ok=True)
        self.pause(0.15)
        checkout.config["extraction"] = {"workers": workers, "max_batch": 1}
        checkout.write()
        forget(checkout, "features", "vit_a")
        self.arguments = arguments
        self.start()

    def start(self):
        tests = Path(__file__).parents[1]
        environment = {**os.environ, "ZOOALIGN_DRILL": str(self.folder),
                       "PYTHONPATH": str(tests / "cluster/instrumented")}  # fmt: skip
        command = [sys.executable, "-m", "zooalign.cli", "submit", "extract", "vit_a", "--dataset", "synthetic",
                   "--cluster", "local", *self.arguments]  # fmt: skip
        self.output = open(self.folder / "output", "w+")  # noqa: SIM115
        self.process = subprocess.Popen(command, cwd=self.checkout.folder, env=environment, text=True,
                                        stdout=self.output, stderr=self.output, start_new_session=True)  # fmt: skip

    def pause(self, seconds):
        (self.folder / "pause.new").write_text(str(seconds))
        (self.folder / "pause.new").replace(self.folder / "pause")

    def batches(self):
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in (self.folder / "batches.jsonl").read_text().splitlines()]
        return []

    def wait_for(self, condition, what):
        end = time.monotonic() + 90
        while not (found := condition()):
            assert time.monotonic() < end, f"{what}: {self.text}"
            assert self.process.poll() is None, self.text
            time.sleep(0.05)
        return found

    def job_processes(self, after=0):
        """Processes of the job once it has stored more batches than `after`."""
        self.wait_for(lambda: sum(b["event"] == "end" for b in self.batches()) > after + 3, "batches")
        return psutil.Process(self.batches()[-1]["pid"])

    def finish(self):
        self.pause(0)
        return self.process.wait(90)

    @property
    def text(self):
        return (self.folder / "output").read_text()

    def done_twice(self):
        """Batches that were stored and computed again."""
        stored, again = Counter(), 0
        for line in self.batches():
            again += line["event"] == "begin" and stored[line["start"]] > 0
            stored[line["start"]] += line["event"] == "end"
        return again


def test_the_signal_before_a_time_limit_requeues_once_and_the_job_goes_on(finished, sweep):
    """Sent as SLURM sends it, to every process of the job; one of them was forked to read images."""
    slow = Slow(sweep, "--timeout-min", "5", "--max-requeues", "5", workers=1)
    for stop in range(2):
        task = slow.job_processes(after=8 * stop)
        job = [task, *task.children(recursive=True)]
        assert len(job) >= 2
        for one in job:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGUSR2)
        slow.wait_for(lambda pid=task.pid: slow.batches()[-1]["pid"] != pid, "a new process")
    log = next((sweep.folder / "results/logs/submit").glob("*_log.out")).read_text()
    assert log.count("Requeued job") == 2, log
    assert "Traceback" not in log, log
    assert slow.finish() == 0, slow.text
    assert slow.done_twice() == 0
    assert len({b["pid"] for b in slow.batches()}) == 3
    ours, theirs = (FeatureStore.open(c.folder / "results/features/synthetic/vit_a.zarr") for c in (sweep, finished))
    assert ours.sample_ids == theirs.sample_ids
    np.testing.assert_allclose(ours.layer(-1).astype(np.float32), theirs.layer(-1).astype(np.float32), atol=2e-3)


def test_one_time_limit_too_many_is_one_message_and_finished_work_is_kept(sweep):
    slow = Slow(sweep, "--timeout-min", "5", "--max-requeues", "0")
    slow.job_processes().send_signal(signal.SIGUSR2)
    assert slow.process.wait(90) == 1
    assert "reached its time limit of 5 min 1 times and was not requeued again" in slow.text
    assert "--timeout-min" in slow.text
    assert "Traceback" not in slow.text
    stored = sum(b["event"] == "end" for b in slow.batches())
    slow.start()
    assert slow.finish() == 0, slow.text
    assert slow.done_twice() == 0
    assert stored >= 4


def test_a_killed_process_is_noticed(sweep):
    slow = Slow(sweep)
    slow.job_processes().send_signal(signal.SIGKILL)
    assert slow.process.wait(90) == 1
    assert "its process ended without a result: killed" in slow.text
    assert "log: results/logs/extract_features/synthetic/vit_a.log" in slow.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_local_jobs_and_the_same_command_goes_on(sweep, number):
    slow = Slow(sweep, workers=1)
    task = slow.job_processes()
    job = [task, *task.children(recursive=True), task.parent()]
    # As a terminal does: to every process of the session.
    os.killpg(slow.process.pid, number) if number == signal.SIGINT else slow.process.send_signal(number)
    assert slow.process.wait(60) == 130
    assert "1 processes stopped; what they finished is kept" in slow.text
    assert "Traceback" not in slow.text
    _, alive = psutil.wait_procs(job, timeout=20)
    assert not alive
    slow.start()
    assert slow.finish() == 0, slow.text
    assert slow.done_twice() == 0


# --- from Python ---------------------------------------------------------------------------------------------------

TASKS = """
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from zooalign.submission import Task

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
    from zooalign.submission import JobOptions, submit

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
    from zooalign.submission import FailedJobsError, submit

    tasks = [note("a"), note("b", fails=True), note("c")]
    with pytest.raises(FailedJobsError, match=r"1 of 3 jobs failed; .*\n- .*note b.*no b") as caught:
        submit(tasks, cluster, log_folder=tmp_path / "logs", report=lambda message: None)
    assert caught.value.results == ["a", None, "c"]


def test_leaving_returns_the_ids_of_jobs_that_go_on(note, tmp_path):
    from zooalign.submission import submit

    [number] = submit([note("a")], "local", wait=False, log_folder=tmp_path / "logs", report=lambda message: None)
    process = psutil.Process(int(number))
    process.wait(60)
    assert (tmp_path / "notes").read_text().split() == ["begin", "end"]


def test_options_of_the_user_win_over_the_manifest(finished):
    from zooalign.config import load_sweep, read_config
    from zooalign.layout import Layout
    from zooalign.resources import job_resources
    from zooalign.submission import Extraction, JobOptions, Row, ShardExtraction

    with contextlib.chdir(finished.folder):
        sweep, layout = load_sweep(read_config(Path("config.yaml"))), Layout(Path("results"))
        task = Extraction(sweep, layout, "vit_a", "synthetic")
        expected = job_resources(sweep, "extract_features", [("synthetic", "vit_a")], 1, True)
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

    from zooalign.submission import Extraction, Merge, Row, Score, ShardExtraction

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
    from zooalign.submit_command import score_names

    assert score_names("a/x.npy", ["f.npz:one", "f.npz:two"]) == ["x--f-one", "x--f-two"]
    assert len(set(score_names("x", ["a/b/c.zarr", "d/b/c.zarr", "c.zarr"]))) == 3
    with pytest.raises(ConfigError, match=r"'a/c\.zarr' is asked for twice"):
        score_names("x", ["a/c.zarr", "b.zarr", "a/c.zarr"])


# --- zooalign store ------------------------------------------------------------------------------------------------


def test_verify_names_the_first_problem_and_shows_all(sweep):
    folder = "results/features/synthetic"
    done = sweep.cli("store", "verify", *(f"{folder}/{m}.zarr" for m in ("vit_a", "vit_b", "wordllama")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("whole") == done.stdout.count("fresh") == 3
    file = sweep.folder / folder / "vit_b.zarr/features/c/0/0/0"
    data = bytearray(file.read_bytes())
    data[20] ^= 4
    file.write_bytes(data)
    done = sweep.cli("store", "verify", *(f"{folder}/{m}.zarr" for m in ("vit_a", "vit_b", "wordllama")))
    assert done.returncode == 1
    assert done.stdout.count("whole") == 2
    assert "vit_b.zarr: features/c/0/0/0: layer 'blocks.0', samples" in done.stderr
    assert "Delete the store and run the sweep again" in done.stderr


def test_verify_compares_with_the_manifest(sweep):
    path = "results/features/synthetic/vit_a.zarr"
    sweep.models[0]["pooling"] = "mean"
    done = sweep.cli("store", "verify", path)
    assert done.returncode == 1
    assert "made for another row of 'vit_a', other weights or other settings" in done.stderr
    del sweep.models[0]
    done = sweep.cli("store", "verify", path)
    assert done.returncode == 0
    assert "not in the" in done.stdout


def test_merge_says_what_it_needs(sweep):
    done = sweep.cli("store", "merge")
    assert done.returncode == 1
    assert "say which shards" in done.stderr
    done = sweep.cli("store", "merge", "results/features/synthetic/vit_a.zarr")
    assert done.returncode == 1
    assert "no shards of it lie in results/features/synthetic/vit_a.zarr.shards" in done.stderr
