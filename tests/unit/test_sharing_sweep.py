"""An imported row in a sweep: which items it has, which scores, and what is left out and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.shared_results import dataset, index, model, quiet, target
from tests.unit.sweeps import few, found, usual_score
from zooalign.config.identity import metric_settings
from zooalign.config.imported import imported_file, why_not_given
from zooalign.config.sweep import load_sweep
from zooalign.layout import Layout
from zooalign.registry import plugin, plugin_names
from zooalign.sharing.importing import import_results
from zooalign.sharing.lists import export_lists
from zooalign.workflow.status import not_imported
from zooalign.workflow.work import Item, Work

ROOT = Path(__file__).parents[2]
CONFIG = {
    "zoo": ["zoo/own.yaml", "zoo/imported.yaml"],
    "dataset_files": "datasets",
    "datasets": ["shapes", "others"],
    "metrics": {"mutual_knn": {"k": [10, 30]}, "cka": {}, "cknna": {"k": [10]}},
    "capabilities": [{"id": "probe", "kind": "linear_probe", "dataset": "shapes"}],
    "inference": {"null": "all", "intervals": "headline"},
    "headline": {"capability": "probe"},
    "sensitivity": {"k": [5, 30], "normalise": ["none"]},
    "tables": ["alignment"],
    "figures": [],
}


OTHERS = ("random_vit_s16", "wordllama")


@pytest.fixture
def load(tmp_path):
    """Function that loads a sweep into which lists of "lab" (20 neighbours) were imported, on one of two datasets."""
    samples = dataset(tmp_path / "results/datasets")
    export_lists(index(samples, 1), model(), tmp_path / "lab.safetensors")
    import_results(tmp_path / "lab.safetensors", target(tmp_path, samples), quiet)
    (tmp_path / "datasets").mkdir()
    rows = [{"id": name, "family": "synthetic", "options": {"n": 64}} for name in ("shapes", "others")]
    (tmp_path / "datasets/d.yaml").write_text(yaml.safe_dump({"datasets": rows}))
    packaged = yaml.safe_load((ROOT / "config/zoo/packaged.yaml").read_text())["models"]
    models = [row for row in packaged if row["id"] in OTHERS]
    (tmp_path / "zoo/own.yaml").write_text(yaml.safe_dump({"models": models}))

    def load(**changes):
        sweep = load_sweep({**CONFIG, **changes}, tmp_path)
        return sweep, Work(sweep, Layout(tmp_path / "results"))

    return load


def test_it_has_an_index_and_a_row_and_neither_weights_nor_features(load):
    sweep, work = load()
    items = {item for item in work.all_items() if "lab" in item.parts}
    assert {item for item in items if "sensitivity" not in item.name and "prepared" not in item.rule} == {
        Item("index_features", ("shapes", "lab")), Item("align_row", ("shapes", "lab")),
        Item("infer_row", ("shapes", "lab")),
    }  # fmt: skip
    assert work.needs(Item("index_features", ("shapes", "lab"))) == [Item("build_dataset", ("shapes",))]
    assert "lab" not in sweep.weights
    probe = sweep.capability("probe")
    assert sweep.why_not_measured(probe, sweep.model("lab")) == "imported without weights"


def test_it_takes_part_in_other_k_and_in_no_other_preparation(load):
    sweep, _ = load()
    taken = {name for name in sweep.preparations if "lab" in {m.id for m in sweep.compared("shapes", name)}}
    assert taken == {name for name, cell in sweep.preparations.items() if {axis for axis, _ in cell.changes} == {"k"}}
    assert taken != set(sweep.preparations)
    left_out = next(iter(set(sweep.preparations) - taken))
    assert "lists were imported" in sweep.why_left_out(left_out, "shapes", sweep.model("lab"))


def test_metrics_that_lists_do_not_give_are_absent_with_the_reason(load):
    sweep, work = load()
    lacks = {(m["metric"], m["k"]): m.get("without") for m in metric_settings(sweep, "shapes")}
    assert lacks == {
        ("mutual_knn", 10): None,
        ("mutual_knn", 30): {"lab": "its lists have 20 neighbours"},
        ("cka", 0): {"lab": "its file has no gram"},
        ("cknna", 10): {"lab": "its file has no similarities"},
    }
    assert all("without" not in m for m in metric_settings(sweep, "others"))
    wanted = {key for m in ("lab", *OTHERS) for key in work.scores("shapes", m)}
    assert {(metric, k) for pair, metric, k in wanted if "lab" in (pair.x, pair.y)} == {("mutual_knn", 10)}
    assert {(metric, k) for pair, metric, k in wanted if "lab" not in (pair.x, pair.y)} == set(lacks)
    inferred = {key for m in ("lab", *OTHERS) for key in work.inferences("shapes", m)}
    assert {(metric, k) for pair, metric, k in inferred if "lab" in (pair.x, pair.y)} == {("mutual_knn", 10)}
    assert not_imported(sweep) == [
        "lab on shapes: no cka: its file has no gram; cknna@10: its file has no similarities; "
        "mutual_knn@30: its lists have 20 neighbours"
    ]


def test_another_version_of_the_file_format_makes_its_index_due(load, monkeypatch):
    from zooalign.sharing import shared_file

    _, work = load()
    before = work.index_digest("shapes", "lab"), work.index_digest("shapes", "wordllama")
    monkeypatch.setattr(shared_file, "VERSION", shared_file.VERSION + 1)
    _, work = load()
    assert work.index_digest("shapes", "lab") != before[0]
    assert work.index_digest("shapes", "wordllama") == before[1]


def test_every_metric_is_given_by_features_and_by_what_it_needs(load):
    sweep, _ = load()
    file = imported_file(sweep.model("lab"), "shapes")
    features = file.model_copy(update={"holds": ("features",), "k_max": None})
    for name in plugin_names("metrics"):
        k = 10 if plugin("metrics", name, "metric").TAKES_K else 0
        assert why_not_given(features, name, k) == ""
        assert (why_not_given(file, name, k) == "") == ({"neighbors"} == plugin("metrics", name, "metric").NEEDS)


@pytest.mark.parametrize("kind", ["tables", "figures"])
def test_every_table_and_figure_is_made_although_some_scores_are_absent(kind, tmp_path):
    first, *others = few()
    models = [first.model_copy(update={"source": "imported"}), *others]

    def score(x, y, metric, k):
        return None if metric == "cka" and first.id in (x.id, y.id) else usual_score(x, y, metric, k)

    for headline in ({"metric": "mutual_knn", "k": 10}, {"metric": "cka", "k": None}):
        capability = {"probe": ("accuracy", {m.id: 0.5 for m in others if m.modality == "vision"})}
        about = found(
            tmp_path / headline["metric"], models, score=score, capability=capability,
            headline={**headline, "capability": "probe"},
        )  # fmt: skip
        for name in plugin_names(kind):
            module = plugin(kind, name, kind[:-1])
            made = module.table(about) if kind == "tables" else module.draw(about, "pictures", tmp_path / name)
            if name in ("matrix", "capability_alignment", "alignment"):
                rows = [row for section in made.sections().values() for row in section]
                if name == "alignment" and headline["metric"] == "cka":  # none of the imported model
                    continue
                assert "cnn_a ⇣" in {column.text(row) for column in made.shown for row in rows}, name
                assert any(note.startswith("⇣ imported") for note in made.notes), name
