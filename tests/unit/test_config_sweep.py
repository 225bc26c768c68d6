"""config.yaml and the manifest: every mistake is one message that names where and the nearest names."""

import copy
from pathlib import Path

import pytest
import yaml

from zooalign.config.identity import features_digest, index_digest, metric_settings
from zooalign.config.sweep import load_sweep, read_config
from zooalign.errors import ConfigError

ROOT = Path(__file__).parents[2]
MODEL = {
    "id": "tiny",
    "modality": "language",
    "source": "random",
    "options": {"path": "no/such/folder", "library": "transformers", "seed": 0},
    "family": "vit",
    "objective": "random",
    "pooling": "mean",
    "parameters": 5_000_000,
    "licence": "none",
}
DATASET = {"id": "shapes", "family": "synthetic", "options": {}}
CONFIG = {
    "zoo": ["zoo.yaml"],
    "dataset_files": "datasets",
    "datasets": ["shapes"],
    "metrics": {"mutual_knn": {"k": [10]}},
    "figures": ["heat_map"],
}


@pytest.fixture
def checkout(tmp_path):
    """Function that writes a manifest and loads a configuration, changed as the test asks."""

    def load(config=None, models=(MODEL,), datasets=(DATASET,)):
        (tmp_path / "datasets").mkdir(exist_ok=True)
        (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"models": list(models)}))
        (tmp_path / "datasets" / "d.yaml").write_text(yaml.safe_dump({"datasets": list(datasets)}))
        from zooalign.config.manifest import read_datasets

        read_datasets.cache_clear()
        merged = {**copy.deepcopy(CONFIG), **(config or {})}
        return load_sweep({key: value for key, value in merged.items() if value is not None}, root=tmp_path)

    load.folder = tmp_path
    return load


def test_a_correct_configuration_loads(checkout):
    sweep = checkout()
    assert [m.id for m in sweep.models] == ["tiny"]
    assert sweep.model("tiny").control
    assert metric_settings(sweep, sweep.config.datasets[0]) == [{"metric": "mutual_knn", "k": 10, "version": 2}]
    assert sweep.comparisons("shapes") == ("vision-language", "vision-vision", "language-language")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": {}}, r"config.yaml: unknown key 'metric': did you mean 'metrics'\?"),
        ({"datasets": None, "dataset": ["shapes"]}, r"unknown key 'dataset': did you mean 'datasets'"),
        ({"figures": ["scatter"]}, r"figures: scatter needs the capability 'bits_per_byte'"),
        (
            {"metrics": {"mutal_knn": {"k": [10]}}},
            r"unknown metric 'mutal_knn': did you mean 'mutual_knn'.* Known: .*cka",
        ),
        ({"metrics": {"mutual_knn": {"kk": 10}}}, r"unknown key 'kk': did you mean 'k'\?"),
        ({"metrics": {"mutual_knn": {}}}, r"metrics.mutual_knn: k is missing"),
        ({"metrics": {"mutual_knn": {"k": [10]}, "cka": {"k": [3]}}}, r"metrics.cka: takes no k"),
        ({"metrics": {"mutual_knn": {"k": [0]}}}, r"k is \[0\]; give positive whole numbers"),
        ({"metrics": {"mutual_knn": {"k": [5, 5]}}}, r"k repeats a value"),
        ({"metrics": {"mutual_knn": {"k": [5]}}}, r"headline.k: 10 is not in metrics.mutual_knn.k \[5\]"),
        ({"datasets": ["shape"]}, r"unknown dataset 'shape': did you mean 'shapes'\?"),
        ({"datasets": []}, r"config.yaml: datasets: "),
        ({"models": ["tiny", "tny"]}, r"unknown model 'tny': did you mean 'tiny'\?"),
        ({"comparisons": {"shpes": []}}, r"comparisons: unknown dataset 'shpes': did you mean 'shapes'\?"),
        ({"comparisons": {"shapes": ["vision"]}}, r"comparisons.shapes.0: "),
        ({"extraction": {"batchmem": 3}}, r"unknown key 'batchmem'.* \(at extraction.batchmem\)"),
        ({"preparation": {"clamp_quantile": 2}}, r"preparation.clamp_quantile: .*less than or equal to 1"),
        ({"figures": ["heatmap"]}, r"unknown figure 'heatmap': did you mean 'heat_map'\?"),
        ({"tables": ["alignments"]}, r"unknown table 'alignments': did you mean 'alignment'"),
        ({"zoo": ["none.yaml"]}, r"none.yaml: no such file"),
        (
            {"capabilities": [{"id": "a", "kind": "linear_prob", "dataset": "shapes"}]},
            r"capability 'a': unknown kind of capability 'linear_prob': did you mean 'linear_probe'\?",
        ),
        (
            {"capabilities": [{"id": "a", "kind": "language_task", "dataset": "shapes"}]},
            r"capability 'a': language_task reads datasets of kind questions, 'shapes' is of kind pairs\. Name ",
        ),
        (
            {"capabilities": [{"id": "a", "kind": "linear_probe", "dataset": "shapes", "options": {"seeed": 1}}]},
            r"capability 'a', options: unknown key 'seeed': did you mean 'seed'\?",
        ),
    ],
)
def test_mistakes_in_config_name_key_and_nearest(checkout, change, message):
    with pytest.raises(ConfigError, match=message):
        checkout(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sorce": "timm"}, r"zoo.yaml, model 'tiny': unknown key 'sorce': did you mean 'source'\?"),
        ({"source": "randm"}, r"zoo.yaml, model 'tiny': unknown source 'randm': did you mean 'random'\?"),
        ({"id": "../../etc/passwd"}, r"zoo.yaml, model '../../etc/passwd': id: .*is not of the form"),
        ({"pooling": "cls"}, r"model 'tiny': pooling 'cls' is not for language models"),
        ({"objective": "supervised"}, r"weights_sha256 is missing"),
        ({"weights_sha256": "abc"}, r"weights_sha256: 'abc' is not of the form"),
        ({"options": {"seeed": 0}}, r"model 'tiny', options: "),
        ({"parameters": -1}, r"model 'tiny': parameters: "),
    ],
)
def test_mistakes_in_a_row_name_file_and_model(checkout, change, message):
    with pytest.raises(ConfigError, match=message):
        checkout(models=[{**MODEL, **change}])


def test_duplicate_id_names_both_files(checkout):
    with pytest.raises(ConfigError, match=r"zoo.yaml: model id 'Tiny' is already in .*zoo.yaml; rename one"):
        checkout(models=[MODEL, {**MODEL, "id": "Tiny"}])


def test_duplicate_dataset_and_key_are_refused(checkout):
    with pytest.raises(ConfigError, match=r"d.yaml, dataset 'shapes': another dataset has this id"):
        checkout(datasets=[DATASET, DATASET])
    (checkout.folder / "twice.yaml").write_text("zoo: [a]\nzoo: [b]\n")
    with pytest.raises(ConfigError, match=r"twice.yaml, line 2: duplicate key 'zoo'"):
        read_config(checkout.folder / "twice.yaml")


def test_yaml_cannot_run_code(checkout):
    (checkout.folder / "evil.yaml").write_text("zoo: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ConfigError, match=r"evil\.yaml: not valid YAML: could not determine a constructor"):
        read_config(checkout.folder / "evil.yaml")


def test_terms_must_be_accepted(checkout):
    rows = [MODEL, {**MODEL, "id": "gated", "terms": "gemma", "homepage": "the page of its terms"}]
    sweep = checkout(models=rows)
    assert [m.id for m in sweep.models] == ["tiny"]
    assert "read the page of its terms, then add 'gemma' to accept_terms" in sweep.left_out["gated"]
    assert len(checkout({"accept_terms": ["gemma"]}, models=rows).models) == 2


def test_missing_program_leaves_the_row_out_and_says_so(checkout):
    sweep = checkout(models=[MODEL, {**MODEL, "id": "odd", "requires": ["no-such-program"]}])
    assert sweep.left_out == {"odd": "needs no-such-program on the PATH"}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"pooling": "last"}, False),
        ({"precision": "bfloat16"}, False),
        ({"storage_dtype": "float32"}, False),
        ({"options": {**MODEL["options"], "seed": 1}}, False),
        ({"notes": "a remark", "licence": "MIT", "family": "other", "parameters": 7}, True),
        ({"id": "renamed"}, True),
    ],
)
def test_digest_follows_what_determines_features_and_nothing_else(checkout, change, same):
    before = features_digest(checkout().model("tiny"), "content", {})
    row = {**MODEL, **change}
    assert (features_digest(checkout(models=[row]).model(row["id"]), "content", {}) == before) is same


def test_k_list_and_needs_leave_the_identity_of_an_index_alone(checkout):
    small = checkout()
    more = checkout({"metrics": {"mutual_knn": {"k": [10, 20]}}})
    digests = {index_digest("features", one.index_settings()["preparation"]) for one in (small, more)}
    assert len(digests) == 1
    assert small.index_settings() == more.index_settings()  # at least 48 neighbours, so that this k is in them


def test_large_k_makes_lists_longer_only_for_metrics_that_need_lists(checkout):
    def built(**ks):
        metrics = {"mutual_knn": {"k": [10]}, **{name: {"k": k} for name, k in ks.items()}}
        settings = checkout({"metrics": metrics}).index_settings()
        return settings["k_max"], [need for need in settings["needs"] if "@" in need or need.startswith(("g", "k"))]

    assert built(cknna=[10, 48]) == (48, [])
    assert built(cknna=[10, 1023]) == (48, ["gram", "kernel_offsets", "sets@1023"])
    assert built(cknna_centered=[512, 64]) == (48, ["gram", "sets@512", "sets@64"])
    assert built(cknna=[10, 100, 512], jaccard_knn=[100]) == (100, ["gram", "kernel_offsets", "sets@512"])


def test_shipped_configuration_loads():
    sweep = load_sweep(read_config(ROOT / "config.yaml"), root=ROOT)
    assert len([m for m in sweep.models if m.modality == "vision"]) >= 7
    assert len([m for m in sweep.models if m.modality == "language"]) >= 6
    assert {m.modality for m in sweep.models if m.control} == {"vision", "language"}


def test_every_key_is_documented():
    """config/README.md explains every key that the schema allows."""
    from zooalign.closed import Closed
    from zooalign.config.manifest import DatasetSpec, ModelSpec
    from zooalign.config.schema import Config

    text = (ROOT / "config" / "README.md").read_text()

    def keys(model):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name} has no description"
            yield name
            for inner in [field.annotation, *getattr(field.annotation, "__args__", ())]:
                if isinstance(inner, type) and issubclass(inner, Closed):
                    yield from keys(inner)

    missing = [k for m in (Config, ModelSpec, DatasetSpec) for k in keys(m) if f"`{k}`" not in text]
    assert not missing
