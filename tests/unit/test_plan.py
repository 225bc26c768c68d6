"""The plan: what is due, in which jobs, and what they ask for; records of earlier jobs before the manifest."""

import os

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.unit.test_resources import CARDS, MODELS, model, overrides, sweep
from zooalign import estimates
from zooalign.accounting import record_job
from zooalign.cluster_config import JobsConfig
from zooalign.dag import RULES, Dag
from zooalign.errors import ConfigError
from zooalign.layout import Layout
from zooalign.plan import make_plan
from zooalign.plan_table import print_plan, summary_lines
from zooalign.provenance import write_json
from zooalign.resources import item_needs, job_resources

SMALL = MODELS[:2]


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results")


def finish(chosen, layout, rule, cluster=True):
    """Do as if every item of a rule were done."""
    dag = Dag(chosen, layout, cluster)
    for item in dag.items(rule):
        for path in dag.artefacts(rule, item.parts):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        write_json(layout.item_receipt(rule, *item.parts), {"digest": item.digest})


def printed(plan):
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_plan(plan, console)
    return console.export_text()


def test_every_due_item_is_in_one_job_and_the_jobs_ask_for_what_will_be_submitted(layout):
    chosen = sweep(SMALL, gpu_classes=CARDS)
    plan = make_plan(chosen, layout, cluster=True)
    dag = Dag(chosen, layout, cluster=True)
    assert [r.rule for r in plan.rules] == list(RULES)
    for r in plan.rules:
        assert (r.total, r.due) == (len(dag.items(r.rule)), len(dag.due(r.rule)))
        assert sum(job.items for job in r.jobs) == r.due
        for job, block in zip(r.jobs, dag.blocks(r.rule), strict=True):
            asked = job_resources(chosen, r.rule, [item.parts for item in block.items], 1, True)
            assert (job.mem_mb, job.limit_min, job.gpus) == (asked["mem_mb"], asked["runtime"], asked.get("gpu", 0))
            assert job.minutes < job.limit_min
    extract = next(r for r in plan.rules if r.rule == "extract_features")
    assert extract.gpu_hours > 0
    assert extract.mem_mb == max(job.mem_mb for job in extract.jobs)
    assert next(r for r in plan.rules if r.rule == "align_row").gpu_hours == 0


def test_what_is_done_is_not_due_and_nothing_is_left_at_the_end(layout):
    chosen = sweep(SMALL)
    before = make_plan(chosen, layout, cluster=True)
    finish(chosen, layout, "extract_features")
    after = make_plan(chosen, layout, cluster=True)
    pairs = list(zip(before.rules, after.rules, strict=True))
    assert [(b.due, a.due) for b, a in pairs if b.due != a.due] == [(3, 0)]
    assert after.submissions < before.submissions
    for rule in RULES:
        finish(chosen, layout, rule)
    done = make_plan(chosen, layout, cluster=True)
    assert (done.submissions, done.largest, done.pairs) == (0, None, 0)
    assert sum(r.files for r in done.rules) == 0
    assert summary_lines(done) == ["Nothing to do: everything is there."]
    assert "Nothing to do" in printed(done)


def test_submissions_are_the_jobs_that_slurm_will_see(layout):
    here = make_plan(sweep(SMALL), layout, cluster=True)
    there = make_plan(sweep(SMALL, jobs=JobsConfig(fetch_on="cluster")), layout, cluster=True)
    fetching = sum(len(r.jobs) for r in here.rules if r.rule in ("build_dataset", "fetch_weights"))
    assert there.submissions == here.submissions + fetching == sum(len(r.jobs) for r in there.rules)
    assert f"{here.submissions} submissions to SLURM, without repetitions; {fetching} jobs run where" in printed(here)
    local = make_plan(sweep(SMALL), layout, cluster=False)
    assert local.submissions == 0
    assert "SLURM" not in printed(local)


def test_smaller_targets_make_more_and_shorter_jobs(layout):
    models = [model(f"m{i:02}", parameters=300_000_000) for i in range(12)]
    plans = [
        make_plan(sweep(models, jobs=JobsConfig(cluster_target_min=target)), layout, cluster=True)
        for target in (0.1, 1.0, 30.0)
    ]
    jobs = [next(r for r in plan.rules if r.rule == "extract_features").jobs for plan in plans]
    assert [len(j) for j in jobs] == sorted((len(j) for j in jobs), reverse=True)
    assert len(jobs[0]) == 12
    assert len(jobs[2]) < 4
    assert max(j.minutes for j in jobs[0]) < max(j.minutes for j in jobs[2])


def test_records_of_earlier_jobs_replace_the_manifest_and_the_plan_says_so(layout):
    chosen = sweep(SMALL)
    manifest = make_plan(chosen, layout, cluster=True)
    assert "Times follow from the manifest; nothing has been measured yet." in printed(manifest)
    needs = item_needs(chosen, "extract_features", ("shapes", "eyes"), True)
    item = {"parts": ["shapes", "eyes"], "seconds": 7200.0, "predicted_s": needs.seconds, "state": "done"}
    line = {
        "rule": "extract_features",
        "items": [item],
        "started": 1.0,
        "seconds": 7300.0,
        "state": "done",
        "gpus": 1,
    }
    record_job(layout, line)
    measured = make_plan(chosen, layout, cluster=True)
    extract = {r.rule: r for r in measured.rules}["extract_features"]
    assert extract.measured == extract.due == 3  # its own, its model on digits, and by the factor of the rule
    assert extract.gpu_hours > 2
    assert sum(r.measured for r in measured.rules) == 3
    assert "Times of 3 items follow from records of earlier jobs" in printed(measured)
    # What jobs ask for and how they are put together must be the same in every process: records change neither.
    for before, after in zip(manifest.rules, measured.rules, strict=True):
        assert [(j.name, j.mem_mb, j.limit_min) for j in before.jobs] == [
            (j.name, j.mem_mb, j.limit_min) for j in after.jobs
        ]
    # A record of a CPU says nothing about a GPU.
    assert {r.rule: r for r in make_plan(chosen, layout, cluster=False).rules}["extract_features"].measured == 0


def test_the_largest_job_and_the_total_stand_below_the_table(layout):
    plan = make_plan(sweep([*SMALL, model("slow", parameters=60_000_000_000, precision="float16")]), layout, True)
    assert plan.largest.name.startswith("bpb.slow.")
    text = printed(plan)
    assert f"Largest job: measure_capability {plan.largest.name} (1 item): about " in text
    assert "asks for 1 GPU, 1 CPU, " in text
    hours = sum(r.gpu_hours for r in plan.rules)
    files = sum(r.files for r in plan.rules)
    assert f"Total: {hours:.3f} GPU hours and " in text
    assert f"{files:,} files and folders (inodes)" in text


def test_files_and_bytes_follow_from_what_will_be_written(layout):
    small, large = ({r.rule: r for r in make_plan(sweep(SMALL, n=n), layout, True).rules} for n in (100, 10_000))
    assert large["extract_features"].gib > 5 * small["extract_features"].gib
    assert large["index_features"].gib > 1000 * small["index_features"].gib  # Grams
    assert large["extract_features"].files == small["extract_features"].files  # one shard per store
    kept = small["extract_features"]
    # Eight per store, receipt and log of each item; receipt and SLURM's log of each job, its list of items.
    assert kept.files == 10 * kept.due + sum(2 + (job.items > 1) for job in kept.jobs)


def test_time_of_a_row_follows_from_the_pairs_that_it_holds(layout):
    chosen = sweep([model(f"m{i}") for i in range(9)])
    dag = Dag(chosen, layout, cluster=True)
    plan = make_plan(chosen, layout, cluster=True)
    assert plan.pairs == 36 == sum(map(len, dag.rows("shapes").values()))
    rows = next(r for r in plan.rules if r.rule == "align_row")
    possible = sum(item_needs(chosen, "align_row", item.parts, True).seconds for item in dag.due("align_row"))
    assert sum(job.minutes * 60 - 7 for job in rows.jobs) == pytest.approx(possible / 2)
    assert len(estimates.partners(chosen, "shapes", chosen.model("m0"))) == 8


def test_a_model_that_fits_no_card_is_said_before_anything_is_submitted(layout):
    with pytest.raises(ConfigError, match="model 'big' needs"):
        make_plan(sweep(gpu_classes=CARDS[:1]), layout, cluster=True)
    on_cpu = sweep(gpu_classes=CARDS[:1], **overrides(models={"huge": {"gpus": 0}, "big": {"gpus": 0}}))
    with pytest.raises(ConfigError, match=r"set resources.measure_capability.models.big.gpus: 0"):
        make_plan(on_cpu, layout, cluster=True)


def test_command_line_plans_for_a_cluster_where_there_is_one(monkeypatch, tmp_path):
    from tests.unit.test_config import CONFIG, DATASET, MODEL
    from zooalign.cli import app
    from zooalign.provenance import write_text

    (tmp_path / "datasets").mkdir()
    write_json(tmp_path / "zoo.yaml", {"models": [MODEL]})
    write_json(tmp_path / "datasets/d.yaml", {"datasets": [DATASET]})
    write_json(tmp_path / "config.yaml", CONFIG)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    command = ["plan", "--config", str(tmp_path / "config.yaml")]

    def said(*options):
        done = CliRunner().invoke(app, [*command, *options])
        assert done.exit_code == 0, done.output
        return done.output

    assert "on this machine" in said()
    assert "on a cluster" in said("--cluster")
    write_text(tmp_path / "bin/sbatch", "#!/bin/sh\n")
    (tmp_path / "bin/sbatch").chmod(0o755)
    assert "submissions to SLURM" in said()
    assert "on this machine" in said("--local")
