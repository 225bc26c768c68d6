"""Raising VERSION of any module makes due exactly what the module determines, and nothing that it does not."""

import importlib
import pkgutil
from pathlib import Path

import pytest

import zooalign
from zooalign.config.identity import RESULTS as READ
from zooalign.config.sweep import load_sweep, read_config
from zooalign.layout import Layout
from zooalign.workflow.work import Work

from .conftest import TABLES as NAMES

pytestmark = pytest.mark.workflow
VISION, LANGUAGE = {"vit_a", "vit_b"}, {"wordllama", "textgenrnn"}
ALL = VISION | LANGUAGE
FEATURES = {("extract_features", f"synthetic/{m}") for m in ALL}
INDEXES = {("index_features", f"synthetic/{m}") for m in ALL}
ROWS = {("align_row", f"synthetic/{m}") for m in ALL}
PROBES = {("measure_capability", f"shapes/{m}") for m in VISION}
SCORES = ROWS - {("align_row", "synthetic/vit_a")}  # its row is empty: other rows hold its pairs
NULLS = {("infer_row", name) for _, name in SCORES}
TABLES = {("make_tables", name) for name in NAMES}
FIGURES = {("make_figures", "heat_map/synthetic")}
REPORT = {("make_report", "report")}
RESULTS = TABLES | FIGURES | REPORT
FROM_INDEXES = INDEXES | SCORES | NULLS | RESULTS


def of(models, *sets):
    """Items of these models, and all results."""
    return {item for one in sets for item in one if item[1].split("/")[-1] in models} | RESULTS


DUE = {
    "datasets.synthetic": {("build_dataset", "synthetic"), *FEATURES, *PROBES, *FROM_INDEXES},
    "sources.random": {
        *{("fetch_weights", m) for m in VISION},
        *of(VISION, FEATURES, INDEXES, PROBES),
        *SCORES,
        *NULLS,
    },
    "sources.static_table": {("fetch_weights", "wordllama"), *of({"wordllama"}, FEATURES, INDEXES)},
    "sources.packaged.char_lstm": {("fetch_weights", "textgenrnn"), *of({"textgenrnn"}, FEATURES, INDEXES)},
    "sources._vision": of(VISION, FEATURES, INDEXES, PROBES) | SCORES | NULLS,
    "sources._preprocessing": of(VISION, FEATURES, INDEXES, PROBES) | SCORES | NULLS,
    "sources._language": of(LANGUAGE, FEATURES, INDEXES),
    "features.batches": FEATURES | PROBES | FROM_INDEXES,
    "features.extract": FEATURES | PROBES | FROM_INDEXES,
    "models.pooling": FEATURES | PROBES | FROM_INDEXES,
    "indexes.preparation": FROM_INDEXES,
    "indexes.index": FROM_INDEXES,
    "indexes.neighbors": FROM_INDEXES,
    "indexes.gram": FROM_INDEXES,
    "indexes.subspaces": FROM_INDEXES,
    "alignment.pairs": ROWS | NULLS | RESULTS,
    "alignment.infer_row": NULLS | {("infer_row", "synthetic/vit_a")} | RESULTS,
    "alignment.inference": NULLS | RESULTS,
    "alignment.intervals": NULLS | RESULTS,
    "alignment.groups": NULLS | RESULTS,
    "metrics.cka": SCORES | RESULTS,
    "metrics.mutual_knn": SCORES | NULLS | RESULTS,
    "capability.linear_probe": PROBES | RESULTS,
    "capability._record": PROBES | RESULTS,
    **dict.fromkeys(READ["tables"], RESULTS),
    **{f"tables.{name}": {("make_tables", name), *REPORT} for _, name in sorted(TABLES)},
    **dict.fromkeys([*sorted(set(READ["report"]) - set(READ["tables"])), "report.build"], REPORT),
    "figures._drawing": FIGURES,
    "figures.heat_map": FIGURES,
}
ONE_SIDE = ("sources.static_table", "sources.packaged.char_lstm", "sources._language")
# VERSIONs of formats that are read and refused by themselves, and of what no artefact of the sweep holds.
FORMATS = {"planning.usage", "features.chunks", "indexes.galleries"}
# Of variants, of layers inside blocks and of imported models only, which this sweep has none of:
# tests/unit/test_models_*.py, test_sharing_sweep.py.
VARIANTS = {"models.interventions", "models.sublayers", "sharing.shared_file"}
# Rooms that this sweep does not use; one of each kind stands above.
ROOMS = ("datasets", "sources", "metrics", "capability", "tables", "figures")


@pytest.fixture(scope="module")
def due(finished):
    sweep = load_sweep(read_config(finished.folder / "config.yaml"), finished.folder)

    def look():
        work = Work(sweep, Layout(finished.folder / "results"))
        return {(item.rule, item.name) for item in work.all_items() if work.is_due(item)}

    assert look() == set()
    return look


@pytest.mark.parametrize("name", DUE)
def test_a_raised_version_makes_due_what_the_module_determines(due, monkeypatch, name):
    module = importlib.import_module(f"zooalign.{name}")
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    found = due()
    if name in ONE_SIDE:
        # Which rows read the index of a model is for test_workflow_work.py; here some do, and not all need to.
        for rule in ("align_row", "infer_row"):
            rows = {item for item in found if item[0] == rule}
            assert rows
            found -= rows
    assert found == DUE[name]
    monkeypatch.undo()
    assert due() == set()


def test_every_version_is_accounted_for():
    root = Path(zooalign.__path__[0])
    named = {
        module.name.removeprefix("zooalign.")
        for module in pkgutil.walk_packages([str(root)], "zooalign.")
        if any(line.startswith("VERSION = ") for line in source_of(root, module.name))
    }
    others = {
        n
        for n in named - set(DUE) - FORMATS - VARIANTS
        if n.split(".")[0] in ROOMS and not n.split(".")[-1].startswith("_")
    }
    assert named - others == set(DUE) | FORMATS | VARIANTS


def source_of(root, name):
    path = root.joinpath(*name.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text().splitlines()
