"""`snakemake --profile slurm` on a real SLURM: where jobs run, what is submitted, and every interruption."""

import os
import re
import shutil

import pytest
import yaml

from ..workflow.conftest import RESULTS, tiny_vit
from . import drills
from . import slurm as daemons
from .checkouts import PARTITIONS, ClusterCheckout
from .conftest import copy, prepare
from .drills import Drill
from .processes import Process, SlurmError, wait_for
from .slurm import GPU_NODES, Slurm

# A slow machine, or another test run whose turn it is, must not end a drill half-way.
pytestmark = [pytest.mark.cluster, pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(3600)]

SAMPLES = 64
# Less than an extraction takes, more than half of it.
MEM_MB = 450


def tables(checkout):
    return {file.name: file.read_bytes() for file in sorted((checkout.folder / "results/tables").glob("*.*"))}


@pytest.fixture(scope="module")
def sweeps(slurm, local, tmp_path_factory):
    """Three checkouts that use the cluster at the same time without disturbance, and their ended controllers."""
    folder = tmp_path_factory.mktemp("sweeps")
    fresh = prepare(ClusterCheckout(folder / "fresh", slurm))
    # As the documentation says; SLURM describes itself.
    fresh.partitions = yaml.safe_load(fresh.cli("partitions").stdout)["partitions"]
    added = copy(local, folder / "added", slurm)
    added.models.append(tiny_vit("vit_c", 3))
    failing = copy(local, folder / "failing", slurm)
    broken, greedy = tiny_vit("vit_broken", 4), tiny_vit("vit_greedy", 5)
    # The network takes images of 32 x 32, and gets others.
    broken["options"]["preprocessing"] = {**broken["options"]["preprocessing"], "input_size": [3, 16, 16]}
    failing.models += [broken, greedy]
    # The second attempt gets twice as much; but no more than there is, or it would wait for ever.
    asked = {"vit_greedy": {"mem_mb": MEM_MB}, "vit_broken": {"runtime_min": 1000}}
    failing.config["resources"] = {"extract_features": {"models": asked}}
    checkouts = {"fresh": fresh, "added": added, "failing": failing}
    controllers = {name: checkout.start() for name, checkout in checkouts.items()}
    for controller in controllers.values():
        controller.wait(check=False)
    return {name: (checkout, controllers[name]) for name, checkout in checkouts.items()}


def test_the_sweep_equals_the_local_one_bit_by_bit(sweeps, local):
    fresh, controller = sweeps["fresh"]
    assert controller.process.returncode == 0, controller.text
    assert fresh.partitions["gpu"] == {
        "max_runtime": 1440, "max_mem_mb": 16_000, "max_threads": 8, "max_gpu": 4, "available_gpu_models": ["fake"],
    }  # fmt: skip
    jobs = fresh.jobs()
    assert {job.state for job in jobs} == {"COMPLETED"}
    # What runs a model is a job of its own, small jobs of a rule are one submission (the profile's groups);
    # weights and datasets are fetched where Snakemake runs.
    assert fresh.submissions() == {
        "extract_features": 3, "index_features": 1, "align_row": 1, "infer_row": 1, "measure_capability": 1,
        **RESULTS,
    }  # fmt: skip
    (indexing,) = [job for job in jobs if job.rule == "index_features"]
    assert indexing.cpus == 3  # three members side by side
    plan = fresh.cli("plan", "--cluster").stdout
    assert "Nothing to do" in plan
    for job in jobs:
        on_gpu = job.rule == "extract_features"
        assert job.partition == ("gpu" if on_gpu else "cpu"), job
        assert (job.node in GPU_NODES) == on_gpu, job
        assert job.gpus == on_gpu, job
        assert job.name.startswith("zooalign_"), job
    assert any("synthetic_vit_a" in job.comment for job in jobs)
    assert tables(fresh) == tables(local)
    last = jobs[-1].id
    assert "Nothing to be done" in fresh.run().text
    assert fresh.jobs(after=last) == []


def test_adding_a_model_submits_its_jobs_and_no_others(sweeps):
    added, controller = sweeps["added"]
    assert controller.process.returncode == 0, controller.text
    wanted = {
        "extract_features": 1,
        "index_features": 1,
        "align_row": 1,
        "infer_row": 1,
        "measure_capability": 1,
        **RESULTS,
    }
    assert added.submissions() == wanted
    assert [job.comment for job in added.jobs() if "vit" in job.comment] == [
        "rule_extract_features_wildcards_synthetic_vit_c"
    ]


def test_a_failing_model_is_reported_and_too_little_memory_is_mended(sweeps):
    failing, controller = sweeps["failing"]
    assert controller.process.returncode != 0
    jobs = [job for job in failing.jobs() if job.rule == "extract_features"]
    assert [(job.mem_mb, job.state) for job in jobs if "greedy" in job.comment] == [
        (MEM_MB, "FAILED"),
        (2 * MEM_MB, "COMPLETED"),
    ]
    limits = [job.limit for job in jobs if "broken" in job.comment]
    assert limits == ["16:40:00", "1-00:00:00", "1-00:00:00"]
    text = (failing.folder / "results/tables/capability_alignment.csv").read_text()
    rows = {line.split(",")[0]: line for line in text.splitlines()}
    assert rows["vit_greedy"]
    assert "Input height (16) doesn't match model (32)" in rows["vit_broken"]
    assert "Input height (16) doesn't match model (32)" in controller.text


REFUSING = """\
#!/bin/sh
case "$*" in *vit_d*)
    if [ $(wc -l <{folder}/refused) -lt 3 ]; then
        echo >>{folder}/refused
        echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" >&2
        exit 1
    fi
esac
exec {sbatch} "$@"
"""


def test_what_slurm_refuses_is_submitted_again_when_the_rest_has_ended(copied):
    """As a limit of submitted jobs does: every attempt is refused within seconds; later it would not be."""
    copied.models.append(tiny_vit("vit_d", 6))
    sbatch = copied.folder / "bin/sbatch"
    sbatch.parent.mkdir(parents=True)
    sbatch.write_text(REFUSING.format(folder=sbatch.parent, sbatch=shutil.which("sbatch")))
    sbatch.chmod(0o755)
    (sbatch.parent / "refused").touch()
    controller = copied.start(PATH=f"{sbatch.parent}:{os.environ['PATH']}")
    controller.wait()
    assert "Job violates accounting/QOS policy" in controller.text
    assert "1 item (synthetic/vit_d) did not start" in controller.text
    assert copied.submissions() == {
        "extract_features": 1, "index_features": 1, "align_row": 1, "infer_row": 1, "measure_capability": 1,
        **RESULTS,
    }  # fmt: skip
    assert "vit_d" in (copied.folder / "results/tables/capability_alignment.csv").read_text()


def test_jobs_survive_everything_that_happens_to_them(fresh, local, request):
    # Extraction goes to the partition whose jobs are requeued when somebody needs the node.
    fresh.partitions = {"cpu": PARTITIONS["cpu"], "preempt": PARTITIONS["gpu"]}
    # A job that waits for its time limit shall not be requeued before: its node is one to which nothing else happens.
    fresh.config["resources"] = {"extract_features": {"models": {"vit_b": {"gpus": 0}}}}
    plan = [drills.scancel, drills.kill, drills.requeue, drills.preempt]
    plan += [drills.node_failure, drills.gpu_out_of_memory]
    if request.config.getoption("--full"):
        plan += [drills.scancel, drills.kill, drills.requeue, drills.requeue, drills.preempt]
    with Drill(fresh, seed=7, pause=0.6) as drill:
        limited = drills.time_limit(drill, "vit_b")
        drill.random.shuffle(plan)
        for one in plan:
            drill.inject(one)
        wait_for(lambda: fresh.slurm.job(limited).is_over, "the time limit", 400)
        drill.finish()
    assert fresh.slurm.job(limited).state == "TIMEOUT"
    assert_nothing_was_done_twice(drill, "vit_a", "vit_b", "wordllama")
    assert tables(fresh) == tables(local)


def test_the_sweep_survives_everything_that_happens_to_snakemake(copied, sweeps, request):
    copied.models.append(tiny_vit("vit_c", 3))
    plan = [drills.interrupt, drills.kill_controller, drills.kill_controller_only, drills.terminate]
    if request.config.getoption("--full"):
        plan += [drills.interrupt, drills.kill_controller, drills.interrupt, drills.terminate]
    with Drill(copied, seed=8, pause=0.6) as drill:
        for one in plan:
            drill.inject(one)
        drill.finish()
    assert_nothing_was_done_twice(drill, "vit_c")
    assert tables(copied) == tables(sweeps["added"][0])


@pytest.mark.parametrize(
    ("change", "profile", "partitions", "said"),
    [
        ({"index_features": {"partition": "cpuu"}}, "", PARTITIONS, "unknown partition 'cpuu': did you mean 'cpu'?"),
        ({"extract_features": {"gpu_model": "a100"}}, "", PARTITIONS, "unknown GPU model 'a100'"),
        ({}, "slurm_account: nobody", PARTITIONS, "account 'nobody': this cluster lists no accounts of yours"),
        ({}, "slurm_partition: nowhere", {}, "unknown partition 'nowhere'"),
        ({}, "", {}, "partition cpu: 1 GPU asked for, 0 on a node; gpu, preempt can run it: set"),
    ],
    ids=["partition of a rule", "GPU model", "account", "partition of the profile", "no partition"],
)
def test_what_the_cluster_cannot_do_is_one_message_and_nothing_is_submitted(
    copied, change, profile, partitions, said
):
    copied.models.append(tiny_vit("vit_c", 3))
    copied.config["resources"] = change
    copied.partitions = partitions
    copied.edit = lambda text: text.replace("default-resources:", f"default-resources:\n  {profile}")
    controller = copied.run(check=False)
    assert controller.process.returncode != 0
    assert controller.text.count(said) == 1
    assert "nothing was submitted" in controller.text
    assert "Traceback" not in controller.text
    assert copied.jobs() == []


def test_what_a_killed_test_run_left_is_cleaned_and_a_foreign_slurm_is_not_touched(slurm, tmp_path, monkeypatch):
    left = slurm.submit("sleep 600", "--time=5")
    wait_for(lambda: slurm.job_processes(left), "the job's processes")
    processes = [Process.of("job", pid) for pid in [*slurm.job_processes(left), *slurm.step_daemons()]]
    daemons_left = slurm.recorded()
    assert all(process.runs for process in [*processes, *daemons_left])
    # Another test run, of which this one is the killed predecessor.
    Slurm().start()
    assert not any(process.runs for process in [*processes, *daemons_left])
    assert slurm.nodes() == ["idle"] * 4
    assert slurm.jobs() == []
    assert slurm.step_daemons() == []
    slurm.stop()
    assert not daemons.PLACE.is_symlink()
    (tmp_path / "slurm.conf").write_text("ClusterName=real")
    monkeypatch.setattr(daemons, "PLACE", tmp_path / "slurm.conf")
    assert "a SLURM of its own" in daemons.missing()
    with pytest.raises(SlurmError, match="not the test cluster's"):
        Slurm().start()
    assert (tmp_path / "slurm.conf").read_text() == "ClusterName=real"


def assert_nothing_was_done_twice(drill, *models):
    """What was stored of the models that were extracted during a drill was never computed again."""
    assert drill.recomputed() == {}
    for model in models:
        stored = drill.stored(f"{model}.zarr")
        assert len(stored) == len(set(stored)), model
        # A kill between the last byte of a batch and its note leaves a batch without a note.
        assert len(stored) >= SAMPLES - len(drill.done), model
    logs = drill.checkout.folder / "results/logs/extract_features/synthetic"
    said = "".join((logs / f"{model}.log").read_text() for model in models)
    assert re.search(rf"continuing after \d+ of {SAMPLES} samples", said)
