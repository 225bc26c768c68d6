"""Records of jobs: written by many processes, read whatever happened to them, SLURM's numbers before our own."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from zooalign.layout import Layout
from zooalign.planning import usage
from zooalign.planning.usage import (
    folder,
    job_record,
    measured_factors,
    print_accounting,
    read_records,
    record_job,
    summary,
    with_slurm,
)
from zooalign.slurm.sacct import ask_sacct, parse_sacct

# As sacct of SLURM 23.11 prints it: a job on a GPU node, one that ran out of time, one that was requeued after a
# preemption, one that was cancelled before it began.
SACCT = """\
101|COMPLETED|2030-03-01T10:00:00|600|2400|08:20.500||billing=4,cpu=4,gres/gpu:a100=1,gres/gpu=1,mem=8000M,node=1
101.batch|COMPLETED|2030-03-01T10:00:00|600|2400|00:04.250|210000K|cpu=4,gres/gpu:a100=1,gres/gpu=1,mem=8000M,node=1
101.extern|COMPLETED|2030-03-01T10:00:00|600|2400|00:00.001|900K|billing=4,cpu=4,mem=8000M,node=1
101.0|COMPLETED|2030-03-01T10:00:03|597|2388|08:16.250|2.50G|cpu=4,gres/gpu:a100=1,gres/gpu=1,mem=8000M,node=1
102|TIMEOUT|2030-03-01T11:00:00|1800|1800|1-02:03:04||billing=1,cpu=1,mem=2000M,node=1
102.batch|CANCELLED|2030-03-01T11:00:00|1802|1802|00:02.000|150M|cpu=1,mem=2000M,node=1
103|PREEMPTED|2030-03-01T12:00:00|100|200|00:30.000||billing=2,cpu=2,mem=1000M,node=1
103.batch|CANCELLED|2030-03-01T12:00:00|100|200|00:30.000|111M|cpu=2,mem=1000M,node=1
103|COMPLETED|2030-03-01T12:10:00|300|600|04:00.000||billing=2,cpu=2,mem=1000M,node=1
103.batch|COMPLETED|2030-03-01T12:10:00|300|600|04:00.000|333M|cpu=2,mem=1000M,node=1
104|CANCELLED by 1000|Unknown|0|0|00:00:00||
"""


def at(text):
    return time.mktime(time.strptime(f"2030-03-01T{text}", "%Y-%m-%dT%H:%M:%S"))


def record(**change):
    return {
        "rule": "extract_features",
        "items": [{"parts": ["emoji", "a"], "seconds": 40.0, "predicted_s": 20.0, "state": "done"}],
        "started": 1000.0,
        "seconds": 60.0,
        "cpu_s": 30.0,
        "cpus": 1,
        "gpus": 0,
        "gpu_s": 0.0,
        "peak_mem_mb": 700,
        "predicted_s": 20.0,
        "predicted_mem_mb": 1500,
        "requested_mem_mb": 1600,
        "state": "done",
        "slurm_job": None,
        "host": "node1",
        **change,
    }


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results")


def test_records_come_back_oldest_first_from_one_file_per_machine(layout):
    assert read_records(layout) == []
    for i, host in [(3, "node1"), (1, "node2.cluster"), (2, "node1"), (0, "../evil")]:
        assert record_job(layout, record(started=float(i), host=host))
    assert [r["started"] for r in read_records(layout)] == [0.0, 1.0, 2.0, 3.0]
    assert sorted(p.name for p in folder(layout).iterdir()) == [".._evil.jsonl", "node1.jsonl", "node2.cluster.jsonl"]
    assert read_records(layout)[3].items() >= record(started=3.0).items()


def test_processes_that_end_together_do_not_mix_their_lines(layout):
    code = """
import sys
from pathlib import Path
from zooalign.planning.usage import record_job
from zooalign.layout import Layout
for i in range(60):
    text = f"{sys.argv[2]}-{i} " * 300
    assert record_job(Layout(Path(sys.argv[1])), {
        "rule": "r", "items": [], "started": 1.0, "seconds": 1.0, "state": "done", "text": text, "host": "one"})
"""
    running = [subprocess.Popen([sys.executable, "-c", code, str(layout.results), str(i)]) for i in range(4)]
    assert [p.wait() for p in running] == [0, 0, 0, 0]
    texts = {r["text"] for r in read_records(layout)}
    assert texts == {f"{i}-{j} " * 300 for i in range(4) for j in range(60)}


def test_a_process_killed_while_it_writes_spoils_no_other_line(layout):
    code = """
import sys
from pathlib import Path
from zooalign.planning.usage import record_job
from zooalign.layout import Layout
while True:
    record_job(Layout(Path(sys.argv[1])), {
        "rule": "r", "items": [], "started": 1.0, "seconds": 1.0, "state": "done",
        "text": "x" * 50000, "host": "one"})
"""
    path = folder(layout) / "one.jsonl"
    for _ in range(3):
        victim = subprocess.Popen([sys.executable, "-c", code, str(layout.results)])
        size = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < size + 10**6:
            assert victim.poll() is None
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        # What a kernel or a full disk could leave: half a line.
        with open(path, "ab") as file:
            file.write(b'\n{"version":1,"rule":"r","started":5.0,"seco')
        assert record_job(layout, record(host="one", rule="after"))
    found = read_records(layout)
    assert sum(r["rule"] == "after" for r in found) == 3
    assert all(len(r["text"]) == 50000 for r in found if r["rule"] == "r")


@given(st.lists(st.binary(max_size=80), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_garbage_keeps_records_from_being_read(tmp_path, garbage):
    layout = Layout(tmp_path / str(time.monotonic_ns()))
    record_job(layout, record(started=1.0))
    path = folder(layout) / "node1.jsonl"
    with open(path, "ab") as file:
        file.write(b"".join(garbage))
    record_job(layout, record(started=2.0))
    assert [r["started"] for r in read_records(layout)] == [1.0, 2.0]


@pytest.mark.parametrize("line", ['{"version":1}', "[1]", '{"version":99,"rule":"r"}', "null", '"text"'])
def test_lines_that_are_no_records_are_left_out(layout, line):
    record_job(layout, record())
    with open(folder(layout) / "node1.jsonl", "a") as file:
        file.write(line + "\n")
    assert len(read_records(layout)) == 1


def test_a_record_that_cannot_be_written_stops_no_job(layout):
    layout.results.mkdir()
    (layout.results / "logs").write_text("a file where the folder should be")
    assert not record_job(layout, record())


def test_sacct_output_is_read_step_by_step():
    done, late, first, second = parse_sacct(SACCT)
    assert done["started"] == at("10:00:00")
    assert (done["state"], done["seconds"], done["cpus"], done["gpus"]) == ("COMPLETED", 600, 4, 1)
    assert done["cpu_s"] == 500.5
    assert done["peak_mem_mb"] == round(210000 / 1024 + 2.5 * 1024)  # both steps count against the limit
    assert (late["state"], late["gpus"], late["cpu_s"]) == ("TIMEOUT", 0, 86400 + 2 * 3600 + 3 * 60 + 4)
    assert [j["peak_mem_mb"] for j in (first, second)] == [111, 333]


@given(st.text(alphabet="0123456789|.:-K\nabGM", max_size=200))
def test_odd_output_of_sacct_is_no_error(text):
    assert all(job["seconds"] >= 0 for job in parse_sacct(text))


def test_numbers_of_slurm_replace_ours_for_the_same_run_of_the_same_job():
    ours = [
        record(slurm_job="101", started=at("10:00:04"), seconds=590.0, peak_mem_mb=2000, cpus=1, gpus=1),
        record(slurm_job="103", started=at("12:10:05")),
        record(slurm_job="103", started=at("12:00:05")),
        record(slurm_job="102", started=at("11:00:05") - 30 * 86400),  # a former cluster's job of that number
        record(slurm_job=None, started=at("10:00:00")),
    ]
    asked = []
    joined = with_slurm(ours, lambda ids: (asked.append(list(ids)), SACCT)[1])
    assert asked == [["101", "103", "102"]]
    assert [r["source"] for r in joined] == ["slurm", "slurm", "slurm", "own", "own"]
    assert [r["seconds"] for r in joined] == [600, 300, 100, 60.0, 60.0]
    assert (joined[0]["peak_mem_mb"], joined[0]["gpu_s"], joined[0]["cpus"]) == (2765, 600, 4)
    assert joined[2]["slurm_state"] == "PREEMPTED"
    assert ours[0]["seconds"] == 590.0


def test_without_accounts_our_records_stand(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_sacct(["1"]) == ""
    program = tmp_path / "sacct"
    program.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    program.chmod(0o755)
    assert ask_sacct(["1"]) == ""
    [joined] = with_slurm([record(slurm_job="1")])
    assert (joined["source"], joined["seconds"]) == ("own", 60.0)
    program.write_text(
        '#!/bin/sh\nprintf "1|COMPLETED|2030-03-01T10:00:00|9|9|00:09.0||cpu=1\\n"\necho "$@" > "$0.said"\n'
    )
    assert with_slurm([record(slurm_job="1", started=at("10:00:01"))])[0]["seconds"] == 9
    assert "--jobs 1" in (tmp_path / "sacct.said").read_text()


def test_sacct_is_asked_in_portions(monkeypatch):
    monkeypatch.setattr(usage, "SACCT_JOBS", 10)
    asked = []
    with_slurm([record(slurm_job=str(i)) for i in range(25)], lambda ids: (asked.append(len(ids)), "")[1])
    assert asked == [10, 10, 5]


def test_summary_sets_predicted_against_actual(layout):
    record_job(layout, record(seconds=3600.0, predicted_s=1800.0, cpus=2, cpu_s=3600.0, peak_mem_mb=900))
    record_job(layout, record(started=1001.0, seconds=1800.0, predicted_s=0.0, state="failed", gpus=1, gpu_s=1800.0))
    record_job(layout, record(started=2000.0, rule="align_row", cpus=0))
    extract, row = summary(layout)
    assert (extract.rule, extract.jobs, extract.failed) == ("extract_features", 2, 1)
    assert (extract.predicted_hours, extract.hours, extract.gpu_hours) == (0.5, 1.5, 0.5)
    assert (extract.predicted_mem_mb, extract.mem_mb, extract.requested_mem_mb) == (1500, 900, 1600)
    assert extract.utilisation == pytest.approx((3600 + 30) / (2 * 3600 + 1800))
    assert row.utilisation is None
    assert [u.rule for u in summary(layout, since=1500.0)] == ["align_row"]
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_accounting(layout, console)
    text = console.export_text()
    assert "0.500 → 1.500" in text
    assert "1,500 → 900" in text
    assert "own records" in text


def test_nothing_is_printed_where_nothing_was_recorded(layout):
    console = Console(record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_accounting(layout, console)
    assert console.export_text() == ""


def test_plans_take_the_item_itself_then_its_model_then_its_rule(layout):
    def item(parts, seconds, state="done", predicted=10.0):
        return {"parts": parts, "seconds": seconds, "predicted_s": predicted, "state": state}

    items = [item(["emoji", "a"], 30.0), item(["emoji", "b"], 5.0), item(["emoji", "c"], 10.0)]
    record_job(
        layout, record(items=[*items, item(["emoji", "d"], 900.0, "failed"), item(["emoji", "e"], 0.1, "kept")])
    )
    record_job(layout, record(items=[item(["emoji", "a"], 2.0), "odd", {"parts": None, "state": "done"}]))
    record_job(layout, record(items=[item(["emoji", "a"], 1.0)], gpus=1))
    found = measured_factors(layout)
    rule = "extract_features"
    assert found.seconds(rule, ("emoji", "a"), False, 99.0) == (30.0, True)  # the longest: the other was continued
    assert found.seconds(rule, ("digits", "a"), False, 20.0) == (60.0, True)
    assert found.seconds(rule, ("digits", "d"), False, 20.0) == (20.0, True)  # median of 3, 0.5 and 1
    assert found.seconds(rule, ("emoji", "a"), True, 99.0) == (1.0, True)
    assert found.seconds("align_row", ("emoji", "a"), False, 7.0) == (7.0, False)
    assert found.mem_mb == {rule: 700}


def test_a_job_says_what_it_was_asked_and_took(monkeypatch, layout):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    about = {"rule": "extract_features", "parts": ["shapes", "eyes"], "predicted_s": 12.5, "predicted_mem_mb": 2000,
             "cluster": True}  # fmt: skip
    requested = {"mem_mb": 4000, "runtime": 30, "gpu": 1, "cpus_per_task": 3}
    made = job_record(about, time.time() - 100, "kept", 2, requested)
    assert record_job(layout, made)
    [found] = read_records(layout)
    assert found == {"version": 1, **json.loads(json.dumps(made))}
    assert (found["slurm_job"], found["slurm_restarts"], found["attempt"], found["cpus"]) == ("77", 2, 2, 3)
    assert 100 <= found["seconds"] < 200
    assert found["gpu_s"] == pytest.approx(found["seconds"])
    assert (found["predicted_s"], found["predicted_mem_mb"], found["state"]) == (12.5, 2000, "done")
    # What was there already, or only continued, says nothing about the time that it takes.
    assert found["items"][0]["state"] == "kept"
    assert measured_factors(layout).items == {}
    assert found["peak_mem_mb"] > 50
    [use] = summary(layout, ask=lambda ids: "")
    assert use.gpu_hours == pytest.approx(found["seconds"] / 3600)
