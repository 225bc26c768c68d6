"""Submitting to SLURM and watching, with stand-ins for its commands that run jobs as processes."""

import contextlib
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from zooalign.errors import ConfigError
from zooalign.submit import watch
from zooalign.submit.submission import FailedJobsError, JobOptions, submit

COMMANDS = {
    "sbatch": """
        state.mkdir(exist_ok=True)
        script = Path(sys.argv[1]).read_text()
        if (state / "refuse").exists() or len(alive()) >= int(read("limit", "99")):
            sys.exit("sbatch: error: " + read("refuse", "QOSMaxSubmitJobPerUserLimit (job submit limit)"))
        number = len(list(state.glob("*.script"))) + 1
        (state / f"{number}.script").write_text(script)
        environment = {**os.environ, "SLURM_JOB_ID": str(number)}
        job = subprocess.Popen(["bash", "-c", script], env=environment, start_new_session=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (state / f"{number}.pid").write_text(str(job.pid))
        print(f"Submitted batch job {number}")
    """,
    "srun": """
        # What is left behind options is the job's command.
        arguments = sys.argv[1:]
        while arguments[0].startswith("--"):
            arguments = arguments[2 if arguments[0] in ("--output", "--error") else 1 :]
        os.execvp(arguments[0], arguments)
    """,
    "squeue": """
        if (state / "silent").exists():
            (state / "silent").unlink()
            sys.exit("slurm_load_jobs error: Unable to contact slurm controller")
        for number in alive():
            print(f"{number}|{read('state', 'RUNNING|None')}")
    """,
    "scontrol": """
        print(f"JobId={sys.argv[-1]} JobState={read('ending', 'FAILED')} Reason=None ExitCode=1:0")
    """,
    "sacctmgr": """
        print("lab")
    """,
    "sinfo": """
        print("cpu*|up|1-00:00:00|2|8|16000|(null)")
    """,
}
HEAD = """
    import os, subprocess, sys
    from pathlib import Path
    state = Path(os.environ["FAKE_SLURM"])
    def read(name, default):
        return (state / name).read_text() if (state / name).exists() else default
    def alive():
        found = []
        for file in state.glob("*.pid"):
            stat = Path(f"/proc/{file.read_text()}/stat")
            if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(file.stem)
        return found
"""
TASK = """
    import json, os, time
    from dataclasses import dataclass
    from pathlib import Path
    from zooalign.submit.submission import Task

    @dataclass(frozen=True)
    class Say(Task):
        folder: Path
        name: str
        seconds: float = 0.0

        def _title(self):
            return f"say {self.name}"

        def _log(self):
            return self.folder / "say.log"

        def _needs(self, cluster):
            return {"mem_mb": 700, "runtime": 42, "cpus_per_task": 3}

        def __call__(self):
            time.sleep(self.seconds)
            names = ("ZOOALIGN_CLUSTER", "SRUN_CPUS_PER_TASK")
            return {"name": self.name, **{name: os.environ.get(name) for name in names}}
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Folder that steers the stand-ins; a task that says its name comes with it."""
    programs, state = tmp_path / "bin", tmp_path / "state"
    programs.mkdir()
    state.mkdir()
    for name, body in COMMANDS.items():
        text = textwrap.dedent(HEAD) + textwrap.dedent(body)
        (programs / name).write_text(f"#!{sys.executable}\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setattr(watch, "LOOK_S", 0.2)
    monkeypatch.setattr(watch, "VISIBLE_S", 1.5)
    (tmp_path / "say_tasks.py").write_text(textwrap.dedent(TASK))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    sys.modules.pop("say_tasks", None)
    import say_tasks

    def run(*names, seconds=0.0, options=None, **more):
        said = []
        tasks = [say_tasks.Say(tmp_path, name, seconds) for name in names]
        try:
            return submit(tasks, "slurm", options, log_folder=tmp_path / "logs", report=said.append, **more), said
        except FailedJobsError as error:
            return error, said

    run.state, run.folder = state, tmp_path
    yield run
    for file in state.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(file.read_text()), signal.SIGKILL)


def test_jobs_know_where_they_run_and_ask_for_what_the_task_needs(fake):
    found, _ = fake("a", "b", options=JobOptions(account="lab", qos="long", partition="cpu", signal_s=77))
    assert found == [{"name": name, "ZOOALIGN_CLUSTER": "1", "SRUN_CPUS_PER_TASK": "3"} for name in ("a", "b")]
    script = (fake.state / "1.script").read_text()
    for line in ("--mem=700MB", "--time=42", "--cpus-per-task=3", "--account=lab", "--qos=long", "--partition=cpu",
                 "--signal=USR2@77", "--requeue", "--comment='say a'", "--job-name=zooalign-say"):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    assert "--gpus" not in script
    assert "--array" not in script
    assert list((fake.folder / "logs").iterdir()) == []


def test_gpus_are_asked_for_by_model_where_the_task_says_so():
    from zooalign.submit.submission import _Submission

    crew = _Submission("slurm", Path("logs"), JobOptions(), print)
    task = type("T", (), {"title": "t"})()
    asked = {"mem_mb": 1, "runtime": 1, "gpu": 2, "gpu_model": "a100"}
    assert crew._slurm(task, asked)["additional_parameters"] == {"requeue": True, "gpus": "a100:2"}
    del asked["gpu_model"]
    assert crew._slurm(task, asked)["additional_parameters"]["gpus"] == 2


def test_a_limit_on_jobs_is_waited_for(fake):
    (fake.state / "limit").write_text("2")
    found, said = fake("a", "b", "c", "d", "e", seconds=1)
    assert [one["name"] for one in found] == ["a", "b", "c", "d", "e"]
    assert any("SLURM takes no more jobs of yours now (QOSMaxSubmitJobPerUserLimit" in line for line in said)


def test_what_sbatch_refuses_is_one_message(fake):
    (fake.state / "refuse").write_text("Batch job submission failed: Invalid qos specification")
    with pytest.raises(ConfigError, match=r"sbatch refused the job 'say a': .*Invalid qos specification.*--qos"):
        fake("a")


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("OUT_OF_MEMORY", "was killed, most likely for its memory; ask for more (--mem-gb)"),
        ("TIMEOUT", "was ended at its time limit before it could be requeued"),
        ("CANCELLED", "was cancelled from outside"),
        ("NODE_FAIL", "ended without a result (SLURM says NODE_FAIL"),
    ],
)
def test_a_job_that_is_gone_without_a_result_has_failed(fake, ending, said):
    (fake.state / "ending").write_text(ending)

    def kill():
        while not (fake.state / "1.pid").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(int((fake.state / "1.pid").read_text()), signal.SIGKILL)

    threading.Thread(target=kill).start()
    error, lines = fake("a", "b", seconds=3)
    assert isinstance(error, FailedJobsError)
    assert [one and one["name"] for one in error.results] == [None, "b"]
    assert f"job 1 (say a): {said}" in str(error)
    assert f"log: {fake.folder}/say.log" in str(error)
    assert any("FAILED: job 1 (say a)" in line for line in lines)
    assert any(line.endswith("done: job 2, say b") for line in lines)


def test_a_controller_that_does_not_answer_is_waited_for(fake):
    (fake.state / "silent").touch()
    found, said = fake("a", seconds=2)
    assert found[0]["name"] == "a"
    assert said.count("squeue does not answer; waiting until it does") == 1


def test_a_job_that_may_wait_for_ever_says_why_once(fake):
    (fake.state / "state").write_text("PENDING|AssocGrpGRES")
    _, said = fake("a", seconds=3)
    assert said.count("job 1 waits: AssocGrpGRES (`scontrol show job 1` says more)") == 1


def test_leaving_names_the_jobs(fake):
    found, _ = fake("a", "b", wait=False)
    assert found == ["1", "2"]
    with pytest.raises(ConfigError, match="3 jobs, and at most 2 at a time"):
        fake("a", "b", "c", wait=False, options=JobOptions(max_jobs=2))


def test_files_of_jobs_that_nobody_waited_for_are_removed_later(fake):
    folder = fake.folder / "logs"
    folder.mkdir()
    old, new, other = (folder / name for name in ("7_0_result.pkl", "8_0_result.pkl", "mine.txt"))
    for file in (old, new, other):
        file.write_text("x")
    for file in (old, other):
        os.utime(file, (time.time() - 30 * 24 * 3600,) * 2)
    fake("a")
    assert sorted(p.name for p in folder.iterdir()) == ["8_0_result.pkl", "mine.txt"]


def test_the_report_says_what_each_job_asked_for(fake):
    _, said = fake("a")
    assert f"job 1: say a (700 MB, 3 CPUs, 0 GPUs, 42 min; log: {fake.folder}/say.log)" in said
