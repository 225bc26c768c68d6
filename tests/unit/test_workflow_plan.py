"""The plan: what is due, in which jobs, and what they ask for; records of earlier jobs before the manifest."""

import os
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.unit.test_workflow_resources import CARDS, MODELS, model, overrides, sweep
from zooalign.cli.plan_table import print_plan, summary_lines
from zooalign.config.jobs import JobsConfig
from zooalign.config.sweep import load_sweep
from zooalign.errors import ConfigError
from zooalign.layout import Layout
from zooalign.planning import costs
from zooalign.planning.usage import record_job
from zooalign.storage.atomic import write_json
from zooalign.workflow.checks import DONE
from zooalign.workflow.plan import Groups, make_plan
from zooalign.workflow.resources import item_needs, job_resources
from zooalign.workflow.rules import RULES
from zooalign.workflow.work import Work

SMALL = MODELS[:2]


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results")


@pytest.fixture
def finish(monkeypatch):
    """`finish(rule)`: do as if every item of a rule were done."""

    def do(rule):
        monkeypatch.setattr(type(RULES[rule]), "check", lambda self, work, *parts: DONE)

    return do


def printed(plan):
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_plan(plan, console)
    return console.export_text()


def test_every_due_item_is_in_one_job_and_the_jobs_ask_for_what_will_be_submitted(layout):
    chosen = sweep(SMALL, gpu_classes=CARDS)
    plan = make_plan(chosen, layout, cluster=True)
    work = Work(chosen, layout, cluster=True)
    assert [r.rule for r in plan.rules] == list(RULES)
    for r in plan.rules:
        assert (r.total, r.due) == (len(work.items(r.rule)), len(work.due(r.rule)))
        assert sum(job.items for job in r.jobs) == r.due
        for job, item in zip(r.jobs, work.due(r.rule), strict=True):
            asked = job_resources(chosen, *item, 1, True)
            assert (job.mem_mb, job.limit_min, job.gpus) == (asked["mem_mb"], asked["runtime"], asked.get("gpu", 0))
            assert job.minutes < job.limit_min
    extract = next(r for r in plan.rules if r.rule == "extract_features")
    assert extract.gpu_hours > 0
    assert extract.mem_mb == max(job.mem_mb for job in extract.jobs)
    assert next(r for r in plan.rules if r.rule == "align_row").gpu_hours == 0


def test_what_is_done_is_not_due_but_what_follows_from_it_is(layout, finish):
    chosen = sweep(SMALL)
    finish("index_features")
    assert {r.rule: r.due for r in make_plan(chosen, layout, cluster=True).rules}["index_features"] > 0
    for rule in ("build_dataset", "fetch_weights", "extract_features"):
        finish(rule)
    after = {r.rule: r.due for r in make_plan(chosen, layout, cluster=True).rules}
    assert [after[rule] for rule in ("fetch_weights", "extract_features", "index_features")] == [0, 0, 0]
    assert after["align_row"] > 0
    for rule in RULES:
        finish(rule)
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


def test_groups_of_the_profile_put_small_jobs_together_as_snakemake_lays_them(layout, tmp_path):
    """Twelve members of one CPU on four cores: three layers of four, as was seen on a real SLURM."""
    models = [model(f"m{i:02}") for i in range(12)]
    profile = tmp_path / "config.yaml"
    profile.write_text("cores: 4\ngroup-components: [align_row=12, index_features=5]\n")
    plan = make_plan(sweep(models), layout, cluster=True, groups=Groups.read(profile))
    alone = make_plan(sweep(models), layout, cluster=True)
    rows, single = ({r.rule: r for r in p.rules}["align_row"].jobs for p in (plan, alone))
    (job,) = rows
    assert (job.items, job.cpus, job.mem_mb) == (12, 4, 4 * single[0].mem_mb)
    assert job.limit_min == 3 * single[0].limit_min
    assert [j.items for j in {r.rule: r for r in plan.rules}["index_features"].jobs] == [5, 5, 2]
    # What runs a model, and what is fetched, is a job of its own.
    assert {j.items for j in {r.rule: r for r in plan.rules}["extract_features"].jobs} == {1}
    assert plan.submissions < alone.submissions
    assert make_plan(sweep(models), layout, cluster=False, groups=Groups.read(profile)).submissions == 0


def test_the_shipped_profile_has_groups():
    groups = Groups.read(Path("profiles/slurm/config.yaml"))
    of_cells = {"index_prepared", "align_prepared"}
    own = {"index_features", "align_row", "infer_row", "measure_capability"}
    assert set(groups.components) == own | of_cells
    assert groups.cores > 1


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
    assert plan.largest.name == "bpb/slow"
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
    # Eight per store, log, benchmark, and SLURM's log.
    assert kept.files == 11 * kept.due


def test_time_of_a_row_follows_from_the_pairs_that_it_holds(layout):
    chosen = sweep([model(f"m{i}") for i in range(9)])
    work = Work(chosen, layout, cluster=True)
    plan = make_plan(chosen, layout, cluster=True)
    assert plan.pairs == 36 == sum(map(len, work.rows("shapes").values()))
    rows = next(r for r in plan.rules if r.rule == "align_row")
    possible = sum(item_needs(chosen, "align_row", item.parts, True).seconds for item in work.due("align_row"))
    assert sum(job.minutes * 60 - 7 for job in rows.jobs) == pytest.approx(possible / 2)
    assert len(costs.partners(chosen, "shapes", chosen.model("m0"))) == 8


def test_a_model_that_fits_no_card_is_said_before_anything_is_submitted(layout):
    with pytest.raises(ConfigError, match="model 'big' needs"):
        make_plan(sweep(gpu_classes=CARDS[:1]), layout, cluster=True)
    on_cpu = sweep(gpu_classes=CARDS[:1], **overrides(models={"huge": {"gpus": 0}, "big": {"gpus": 0}}))
    with pytest.raises(ConfigError, match=r"set resources.measure_capability.models.big.gpus: 0"):
        make_plan(on_cpu, layout, cluster=True)


def test_command_line_plans_for_a_cluster_where_there_is_one(monkeypatch, tmp_path):
    from tests.unit.test_config_sweep import CONFIG, DATASET, MODEL
    from zooalign.cli.main import app
    from zooalign.storage.atomic import write_text

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


def test_the_published_matrix_is_planned_whole(layout):
    """78 x (20 + 71) models on the paper's set, with the cards of a usual cluster."""
    config = {
        "zoo": ["vision78", "paper", "newer-llms"],
        "datasets": ["prh_1024"],
        "metrics": {"mutual_knn": {"k": [10]}},
        "figures": ["heat_map"],
        "gpu_classes": [
            {"model": "a40", "mem_mb": 46_000, "per_node": 8},
            {"model": "a100", "mem_mb": 80_000, "per_node": 4},
        ],
    }
    chosen = load_sweep(config, root=Path(__file__).parents[2])
    plan = make_plan(chosen, layout, cluster=True)
    n = 78 + 20 + 71
    assert {r.rule: r.due for r in plan.rules if r.rule in ("fetch_weights", "extract_features", "align_row")} == {
        "fetch_weights": n, "extract_features": n, "align_row": n,
    }  # fmt: skip
    assert plan.pairs == n * (n - 1) // 2
    extract = next(r for r in plan.rules if r.rule == "extract_features")
    classes = plan.gpu_classes
    assert sum(jobs for jobs, _ in classes.values()) == n
    assert sum(hours for _, hours in classes.values()) == pytest.approx(extract.gpu_hours)
    assert {"a40", "2 x a100"} <= set(classes)  # 70 B parameters in 16 bits need two cards
    assert plan.largest.gpus > 1
    # 65 B parameters in their own 16 bits: the host needs little more than the file.
    assert max(job.mem_mb for job in extract.jobs) < 260_000
    assert "GPU hours by class: " in printed(plan)
