"""What jobs ask for: from the manifest, the same in every process, more with every attempt, overrides first."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from zooalign.config.jobs import GpuClass, RuleResources
from zooalign.config.manifest import DatasetSpec, ModelSpec
from zooalign.config.schema import CapabilityConfig, Config, ExtractionConfig, MetricConfig
from zooalign.config.sweep import Sweep
from zooalign.errors import ConfigError
from zooalign.planning import costs
from zooalign.workflow import resources
from zooalign.workflow.resources import (
    check_resources,
    device_of,
    item_needs,
    job_resources,
    resource_overrides,
)
from zooalign.workflow.rules import RULES

ROOT = Path(__file__).parents[2]
CARDS = (GpuClass(model="small", mem_mb=16_000), GpuClass(model="large", mem_mb=80_000, per_node=4))
ROW = {"weights_sha256": "0" * 64, "family": "f", "licence": "none"}


def model(name, modality="language", parameters=10_000_000, **change):
    pooling = "mean" if modality == "language" else "cls"
    row = {"objective": "causal" if modality == "language" else "supervised", "causal": modality == "language"}
    return ModelSpec(
        **{
            **{"id": name, "modality": modality, "source": "timm", "pooling": pooling, "parameters": parameters},
            **ROW,
            **row,
            **change,
        }
    )


MODELS = (
    model("words"),
    model("eyes", "vision", 20_000_000, gflops=8.0),
    model("big", parameters=7_000_000_000, precision="bfloat16"),
    model("huge", parameters=70_000_000_000, precision="bfloat16"),
)


def sweep(models=MODELS, n=64, **config):
    datasets = {
        "shapes": DatasetSpec(id="shapes", family="hub", options={"path": "a/b", "revision": "main", "n": n}),
        "digits": DatasetSpec(id="digits", family="digits"),
        "text": DatasetSpec(id="text", family="openwebtext"),
    }
    capabilities = (
        CapabilityConfig(id="bpb", kind="bits_per_byte", dataset="text"),
        CapabilityConfig(id="probe", kind="linear_probe", dataset="digits"),
    )
    values = {"metrics": {"mutual_knn": MetricConfig(k=(10,)), "cka": MetricConfig()}, "capabilities": capabilities}
    parsed = Config(zoo=("zoo.yaml",), datasets=("shapes",), **{**values, **config})
    return Sweep(parsed, tuple(models), datasets, {"gated": "its terms are not accepted"})


def extraction(**keys):
    return {"extraction": ExtractionConfig(**keys)}


def overrides(rule="extract_features", **keys):
    return {"resources": {rule: RuleResources(**keys)}}


ITEMS = {
    "build_dataset": ("shapes",),
    "fetch_weights": ("eyes",),
    "remove_weights": ("eyes",),
    "extract_features": ("shapes", "eyes"),
    "index_features": ("shapes", "eyes"),
    "align_row": ("shapes", "eyes"),
    "infer_row": ("shapes", "eyes"),
    "index_prepared": ("normalise-none", "shapes", "eyes"),
    "align_prepared": ("normalise-none", "shapes", "eyes"),
    "measure_capability": ("bpb", "words"),
    "make_tables": ("alignment",),
    "make_figures": ("heat_map", "shapes"),
    "make_report": ("report",),
}


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_asks_for_memory_time_and_cpus_and_more_with_every_attempt(rule):
    plain = sweep(sensitivity={"normalise": ["none"]})
    former = {"mem_mb": 0, "runtime": 0, "cpus_per_task": 0}
    for attempt in (1, 2, 3):
        asked = job_resources(plain, rule, ITEMS[rule], attempt, cluster=True)
        assert asked["mem_mb"] > former["mem_mb"]
        assert asked["runtime"] > former["runtime"]
        assert asked["cpus_per_task"] >= former["cpus_per_task"]
        assert set(asked) <= {"mem_mb", "runtime", "cpus_per_task", "gpu"}
        assert all(type(value) is int for value in asked.values())
        former = asked
    # Snakemake is started twice inside every job and takes its share of the limit.
    alone = job_resources(plain, rule, ITEMS[rule], 1, cluster=False)
    assert job_resources(plain, rule, ITEMS[rule], 1, cluster=True)["mem_mb"] >= alone["mem_mb"] + 400


@given(
    st.integers(1, 4),
    st.sampled_from(["words", "eyes", "big"]),
    st.sampled_from(["extract_features", "index_features", "align_row"]),
)
@settings(max_examples=60, deadline=None)
def test_a_job_asks_for_what_it_needs_and_a_multiple_of_its_time(attempt, name, rule):
    chosen = sweep(n=20_000, **extraction(device="cpu"))
    needs = item_needs(chosen, rule, ("shapes", name), True)
    asked = job_resources(chosen, rule, ("shapes", name), attempt, True)
    wanted = needs.mem_mb + resources.reserve_mb(needs.mem_mb)
    assert attempt * wanted <= asked["mem_mb"] < attempt * (wanted + 100)
    assert asked["cpus_per_task"] == needs.cpus
    assert asked["runtime"] * 60 >= attempt * resources.RUNTIME_FACTOR * needs.seconds
    assert asked["runtime"] <= attempt * max(30, resources.RUNTIME_FACTOR * (needs.seconds + 8) / 60) + 30


@given(
    mem=st.one_of(st.none(), st.integers(1, 10**6)),
    own=st.one_of(st.none(), st.integers(1, 10**6)),
    minutes=st.one_of(st.none(), st.integers(1, 5000)),
    own_minutes=st.one_of(st.none(), st.integers(1, 5000)),
    cpus=st.one_of(st.none(), st.integers(1, 64)),
    attempt=st.integers(1, 3),
)
@settings(deadline=None)
def test_overrides_win_and_grow_too(mem, own, minutes, own_minutes, cpus, attempt):
    exception = {"eyes": {"mem_mb": own, "runtime_min": own_minutes}}
    chosen = sweep(**overrides(mem_mb=mem, runtime_min=minutes, cpus=cpus, models=exception))
    plain = job_resources(sweep(), "extract_features", ("shapes", "eyes"), attempt, True)
    asked = job_resources(chosen, "extract_features", ("shapes", "eyes"), attempt, True)
    expected_mem, expected_minutes = own or mem, own_minutes or minutes
    assert asked["mem_mb"] == (attempt * expected_mem if expected_mem else plain["mem_mb"])
    assert asked["runtime"] == (attempt * expected_minutes if expected_minutes else plain["runtime"])
    assert asked["cpus_per_task"] == (cpus or plain["cpus_per_task"])
    # Nothing of it reaches other rules.
    other = job_resources(chosen, "index_features", ("shapes", "eyes"), attempt, True)
    assert other == job_resources(sweep(), "index_features", ("shapes", "eyes"), attempt, True)


@pytest.mark.parametrize(
    ("device", "rule", "parts", "cluster", "local_gpu", "gpus"),
    [
        ("auto", "extract_features", ("shapes", "eyes"), True, False, 1),
        ("auto", "extract_features", ("shapes", "eyes"), False, False, 0),
        ("auto", "extract_features", ("shapes", "eyes"), False, True, 1),
        ("cpu", "extract_features", ("shapes", "eyes"), True, True, 0),
        ("cuda", "extract_features", ("shapes", "eyes"), False, False, 1),
        ("cuda", "measure_capability", ("bpb", "words"), True, False, 1),
        ("cuda", "measure_capability", ("probe", "eyes"), True, True, 0),
        ("cuda", "index_features", ("shapes", "eyes"), True, True, 0),
        ("cuda", "fetch_weights", ("eyes",), True, True, 0),
    ],
)
def test_what_runs_a_model_asks_for_a_gpu(monkeypatch, device, rule, parts, cluster, local_gpu, gpus):
    monkeypatch.setattr(resources, "has_gpu", lambda: local_gpu)
    chosen = sweep(**extraction(device=device))
    needs = item_needs(chosen, rule, parts, cluster)
    assert needs.gpus == gpus
    assert (needs.gpu_mem_mb > 0) is (gpus > 0)
    asked = job_resources(chosen, rule, parts, 1, cluster)
    assert asked.get("gpu", 0) == gpus
    assert "gpu_model" not in asked


def test_gpus_0_runs_on_cpus_for_the_rule_or_for_one_model():
    rule = sweep(**overrides(gpus=0))
    assert item_needs(rule, "extract_features", ("shapes", "eyes"), True).gpus == 0
    assert device_of(rule, "extract_features", ("shapes", "eyes")) == "cpu"
    one = sweep(gpu_classes=CARDS, **overrides(gpu_model="large", models={"eyes": {"gpus": 0}}))
    assert "gpu_model" not in job_resources(one, "extract_features", ("shapes", "eyes"), 1, True)
    assert job_resources(one, "extract_features", ("shapes", "words"), 1, True)["gpu_model"] == "large"
    assert device_of(one, "extract_features", ("shapes", "words")) == "auto"
    # A probe of features is no extraction: what runs it differs, not the model.
    assert item_needs(one, "measure_capability", ("bpb", "words"), True).gpus == 1


def test_local_gpu_is_found_without_torch(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "GPU_FILES", str(tmp_path / "none"))
    assert not resources.has_gpu()
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    monkeypatch.setattr(resources, "GPU_FILES", str(tmp_path / "gpus"))
    assert resources.has_gpu()


def test_gpu_class_is_the_smallest_that_fits_and_the_next_on_the_next_attempt():
    chosen = sweep(gpu_classes=(CARDS[1], CARDS[0]))  # whatever their order
    asked = [job_resources(chosen, "extract_features", ("shapes", "eyes"), a, True) for a in (1, 2, 3)]
    assert [(a["gpu"], a["gpu_model"]) for a in asked] == [(1, "small"), (1, "large"), (1, "large")]
    big = job_resources(chosen, "extract_features", ("shapes", "big"), 1, True)
    assert (big["gpu"], big["gpu_model"]) == (1, "large" if 14_000 + 2_000 > 16_000 - 800 else "small")


def test_a_model_larger_than_the_largest_card_gets_several():
    chosen = sweep(gpu_classes=CARDS)
    needs = item_needs(chosen, "extract_features", ("shapes", "huge"), True)
    assert (needs.gpus, needs.gpu_model) == (2, "large")
    assert needs.gpu_mem_mb <= 80_000
    assert needs.gpus * needs.gpu_mem_mb > costs.gpu_weights_mb(MODELS[3])
    cards = [job_resources(chosen, "extract_features", ("shapes", "huge"), a, True)["gpu"] for a in (1, 2, 3, 9)]
    assert cards == [2, 3, 4, 4]


@given(
    st.integers(10**6, 4 * 10**11),
    st.lists(st.tuples(st.integers(8_000, 200_000), st.integers(1, 8)), min_size=1, max_size=4),
    st.sampled_from(["float32", "bfloat16"]),
)
@settings(deadline=None)
def test_cards_hold_the_weights_or_the_model_is_refused(parameters, cards, precision):
    classes = tuple(GpuClass(model=f"c{i}", mem_mb=mem, per_node=k) for i, (mem, k) in enumerate(cards))
    chosen = sweep([model("m", parameters=parameters, precision=precision)], gpu_classes=classes)
    weights = parameters * (4 if precision == "float32" else 2) / 2**20
    items = ("shapes", "m")
    # Whole blocks on several cards, with a context and a batch on each.
    enough = any(mem * k > 1.2 * weights + 3_000 * k for mem, most in cards for k in range(1, most + 1))
    if not enough and not any(mem * most > weights for mem, most in cards):
        with pytest.raises(ConfigError, match="model 'm' needs"):
            job_resources(chosen, "extract_features", items, 1, True)
    if not enough:
        return
    ladder = [job_resources(chosen, "extract_features", items, attempt, True) for attempt in range(1, 6)]
    found = [({c.model: c for c in classes}[a["gpu_model"]], a["gpu"]) for a in ladder]
    sizes = [c.mem_mb * k for c, k in found]
    assert all(k <= c.per_node for c, k in found)
    assert all(size >= weights for size in sizes)
    assert sizes == sorted(sizes)
    if any(mem > 1.05 * weights + 3_000 for mem, _ in cards):
        assert all(k == 1 for _, k in found)


def test_nothing_fits_names_the_model_and_what_it_needs():
    chosen = sweep(gpu_classes=CARDS[:1])
    with pytest.raises(
        ConfigError, match=r"model 'huge' needs 14\d,\d{3} MB of GPU memory .*bfloat16.*small with 16,000"
    ):
        item_needs(chosen, "extract_features", ("shapes", "huge"), True)
    # One machine has the cards that it has.
    assert item_needs(chosen, "extract_features", ("shapes", "huge"), False) is not None


def test_overrides_of_cards_are_taken_as_they_are():
    chosen = sweep(gpu_classes=CARDS, **overrides(models={"huge": {"gpus": 8, "gpu_model": "small"}}))
    asked = job_resources(chosen, "extract_features", ("shapes", "huge"), 1, True)
    assert (asked["gpu"], asked["gpu_model"]) == (8, "small")
    named = sweep(**overrides(gpu_model="h100.80gb"))
    assert job_resources(named, "extract_features", ("shapes", "eyes"), 2, True)["gpu_model"] == "h100.80gb"
    # A local scheduler knows no models of GPUs.
    assert "gpu_model" not in job_resources(named, "extract_features", ("shapes", "eyes"), 1, False)


def test_a_partition_of_a_model_wins_over_that_of_its_rule():
    chosen = sweep(gpu_classes=CARDS, **overrides(models={"words": {"partition": "p"}}, partition="q"))
    for name in ("words", "eyes", "big", "huge"):
        asked = job_resources(chosen, "extract_features", ("shapes", name), 1, True)
        assert asked["slurm_partition"] == ("p" if name == "words" else "q")


def test_only_resources_that_jobs_can_have_are_declared():
    """Declared and left empty, a partition or GPU model would hide the profile's default."""
    assert resource_overrides(sweep(), "extract_features") == ("cpus_per_task",)
    assert resource_overrides(sweep(gpu_classes=CARDS), "extract_features") == ("cpus_per_task", "gpu_model")
    assert resource_overrides(sweep(gpu_classes=CARDS), "align_row") == ("cpus_per_task",)
    named = sweep(**overrides("align_row", partition="cpu"))
    assert resource_overrides(named, "align_row") == ("cpus_per_task", "slurm_partition")


def submitted(chosen, rule, parts):
    """The sbatch command that the SLURM plugin makes of what a job asks for."""
    from snakemake.rules import ResourceList
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    asked = job_resources(chosen, rule, parts, 1, True)
    declared = {"mem_mb", "runtime", "gpu", *resource_overrides(chosen, rule)}
    assert set(asked) <= declared  # what a rule does not declare never reaches sbatch
    job = SimpleNamespace(resources=ResourceList(fromdict=asked), threads=1, name=rule)
    names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    return get_submit_command(job, dict.fromkeys(names, "")) + set_gres_string(job)


def test_what_reaches_sbatch():
    chosen = sweep(gpu_classes=CARDS, **overrides(mem_mb=5000, runtime_min=7, cpus=3))
    command = submitted(chosen, "extract_features", ("shapes", "huge"))
    assert all(part in command for part in ("--mem 5000", "-t 7", "--cpus-per-task=3", "--gpus=large:2"))
    any_gpu = submitted(sweep(), "extract_features", ("shapes", "eyes"))
    assert any_gpu.endswith("--gpus=1")
    # Neither a number of GPUs nor a model: `--gpus=large:0` would be refused, and a model alone means one GPU.
    assert "--gpus" not in submitted(chosen, "index_features", ("shapes", "eyes"))
    on_cpu = sweep(gpu_classes=CARDS, **overrides(gpus=0))
    assert "--gpus" not in submitted(on_cpu, "extract_features", ("shapes", "eyes"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (overrides("extract_feature"), r"resources: unknown rule 'extract_feature': did you mean 'extract_features'"),
        (overrides(models={"eye": {}}), r"extract_features.models: unknown model 'eye': did you mean 'eyes'"),
        (
            overrides("make_tables", models={"eyes": {}}),
            r"make_tables.models: make_tables has no jobs of single models",
        ),
        (overrides("align_row", gpus=1), r"align_row runs no model and uses no GPU"),
        ({**overrides(gpus=1), **extraction(device="cpu")}, r"asks for a GPU, but extraction.device is cpu"),
        ({**overrides(gpus=0), **extraction(device="cuda")}, r"gpus: 0, but extraction.device is cuda"),
        (overrides(gpus=0, gpu_model="large"), r"gpus is 0 and gpu_model 'large'"),
        (
            {**overrides(gpu_model="lage"), "gpu_classes": CARDS},
            r"unknown GPU model of gpu_classes 'lage': did you mean 'large'",
        ),
        ({"gpu_classes": (CARDS[0], CARDS[0])}, r"gpu_classes: a model is listed twice"),
        (overrides(models={"eyes": {"partition": "p"}}), r"set resources.extract_features.partition too"),
    ],
)
def test_settings_that_no_job_could_follow_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        check_resources(sweep(**config))


def test_names_that_the_plugin_would_refuse_are_refused_at_once():
    with pytest.raises(ValidationError, match="gpu_model"):
        RuleResources(gpu_model="rtx-a6000")
    with pytest.raises(ValidationError, match="model"):
        GpuClass(model="'a100'", mem_mb=1)


def test_settings_of_models_that_are_not_swept_now_are_accepted():
    check_resources(sweep(**overrides(models={"gated": {"mem_mb": 5}})))
    chosen = replace(sweep(**overrides(models={"other": {"mem_mb": 5}})), zoo=("words", "other"))
    check_resources(chosen)
    check_resources(sweep())


def test_every_process_comes_to_the_same_numbers(tmp_path):
    """Nothing depends on the process, on hash seeds, or on what lies on disk."""
    code = """
import sys
from pathlib import Path
from zooalign.config.sweep import load_sweep, read_config
from zooalign.workflow.rules import RULES
from zooalign.workflow.work import Work
from zooalign.layout import Layout
from zooalign.workflow.resources import item_needs, job_resources
sweep = load_sweep(read_config(Path(sys.argv[1]) / "config.yaml"), sys.argv[1])
work = Work(sweep, Layout(Path(sys.argv[2])), cluster=True)
for item in work.all_items():
    print(item, item_needs(sweep, *item, True), job_resources(sweep, *item, 2, True), "torch" in sys.modules)
"""
    said = set()
    for seed, results in (("1", ROOT / "results"), ("2", tmp_path)):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code, str(ROOT), str(results)], env=env, capture_output=True, text=True, check=True
        )
        said.add(done.stdout)
    assert len(said) == 1
    assert "True" not in said.pop()
