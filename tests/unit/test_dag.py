"""Which row holds a pair, which items are due, and how they are put together into blocks."""

import json
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from zooalign.alignment import Pair, all_pairs, assign_pairs
from zooalign.config import load_sweep, read_config
from zooalign.dag import RULES, Dag
from zooalign.errors import ConfigError
from zooalign.layout import Layout

COMPARISONS = ["vision-language", "vision-vision", "language-language"]
ids = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1, max_size=8)


def held(rows):
    return {m: {(p.x, p.y) for p in pairs} for m, pairs in rows.items()}


def settled(models, state):
    """Rows after a sweep of `models` that started from `state`; every model has a row afterwards."""
    rows = assign_pairs(all_pairs(models, COMPARISONS), state)
    return {m: rows.get(m, []) for m in models}


@st.composite
def zoos(draw):
    return {m: draw(st.sampled_from(["vision", "language"])) for m in draw(ids)}


@given(zoos())
def test_every_pair_stands_in_exactly_one_row_of_its_own_models(models):
    pairs = all_pairs(models, COMPARISONS)
    rows = assign_pairs(pairs, {})
    assert sorted(p for row in rows.values() for p in row) == pairs
    assert all(m in (p.x, p.y) for m, row in rows.items() for p in row)
    n = len(models)
    assert len(pairs) == n * (n - 1) // 2


def test_vision_stands_first_in_a_cross_modal_pair():
    assert all_pairs({"z": "vision", "a": "language"}, ["vision-language"]) == [Pair("z", "a", "vision-language")]


@given(zoos(), st.sampled_from(["vision", "language"]), st.sampled_from(["0", "dd", "z"]))
def test_a_new_model_holds_all_its_pairs_and_leaves_other_rows_alone(models, modality, name):
    before = settled(models, {})
    after = settled({**models, name: modality}, held(before))
    assert {m: row for m, row in after.items() if m != name} == before
    assert len(after[name]) == len(models)


@given(zoos(), st.data())
def test_a_removed_model_moves_no_pair_of_the_others(models, data):
    gone = data.draw(st.sampled_from(sorted(models)))
    before = settled(models, {})
    after = settled({m: k for m, k in models.items() if m != gone}, held(before))
    for m, row in after.items():
        assert row == [p for p in before[m] if gone not in (p.x, p.y)]


@given(zoos(), st.randoms())
def test_neither_manifest_order_nor_finished_jobs_move_a_pair(models, random):
    before = settled(models, {})
    shuffled = list(models.items())
    random.shuffle(shuffled)
    assert settled(dict(shuffled), {}) == before
    # A job that starts later reads the rows that others have finished by then.
    finished = {m: row for m, row in held(before).items() if random.random() < 0.5}
    assert settled(models, finished) == before


@given(zoos(), st.data())
def test_a_lost_row_takes_back_the_pairs_nobody_else_holds(models, data):
    before = settled(models, {})
    lost = data.draw(st.sampled_from(sorted(models)))
    state = {m: row for m, row in held(before).items() if m != lost}
    after = settled(models, state)
    assert after == before


@given(zoos(), st.data())
def test_jobs_that_finish_move_no_pair_whatever_lay_there(models, data):
    """Every process of a run must see the same rows while others finish: a job is named by its pairs."""
    pairs = [(p.x, p.y) for p in all_pairs(models, COMPARISONS)] + [("gone", "a")]
    subsets = st.frozensets(st.sampled_from(pairs))
    state = data.draw(st.dictionaries(st.sampled_from(sorted(models)), subsets))
    before = settled(models, state)
    finished = data.draw(st.frozensets(st.sampled_from(sorted(models))))
    assert settled(models, {**state, **{m: row for m, row in held(before).items() if m in finished}}) == before


# --- items and blocks ---


class Folder:
    """A configuration on disk and its results folder."""

    def __init__(self, path, n_vision=3, n_language=2):
        self.path, self.layout = path, Layout(path / "results")
        shipped = read_config("config/zoo/packaged.yaml")["models"]
        rows = {row["id"]: row for row in shipped}
        vision, language = rows["random_vit_s16"], rows["wordllama"]
        self.models = [{**vision, "id": f"v{i}"} for i in range(n_vision)]
        self.models += [{**language, "id": f"l{i}"} for i in range(n_language)]
        self.config = {
            "zoo": ["zoo.yaml"],
            "dataset_files": os.path.abspath("config/datasets"),
            "datasets": ["synthetic"],
            "metrics": {"mutual_knn": {"k": [10]}, "cka": {}},
            "capabilities": [{"id": "shapes", "kind": "linear_probe", "dataset": "synthetic"}],
            "figures": ["heat_map"],
        }

    def dag(self, cluster=False):
        (self.path / "zoo.yaml").write_text(yaml.safe_dump({"models": self.models}))
        return Dag(load_sweep(self.config, self.path), self.layout, cluster)

    def finish(self, items):
        """Pretend that items were done: artefacts and receipts, but no content."""
        dag = self.dag()
        for item in items:
            for file in dag.artefacts(item.rule, item.parts):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            receipt = self.layout.item_receipt(item.rule, *item.parts)
            receipt.parent.mkdir(parents=True, exist_ok=True)
            receipt.write_text(json.dumps({"digest": item.digest}))

    def finish_all(self):
        dag = self.dag()
        self.finish([item for rule in RULES for item in dag.items(rule)])


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def due(dag):
    return {rule: sorted(item.name for item in dag.due(rule)) for rule in RULES if dag.due(rule)}


def test_at_first_everything_is_due_and_afterwards_nothing(folder):
    counts = {rule: len(names) for rule, names in due(folder.dag()).items()}
    assert counts == {
        "build_dataset": 1, "fetch_weights": 5, "extract_features": 5, "index_features": 5, "align_row": 5,
        "measure_capability": 3, "make_tables": 1, "make_figures": 1,
    }  # fmt: skip
    folder.finish_all()
    assert due(folder.dag()) == {}
    assert folder.dag().receipts() == []


def test_a_deleted_artefact_is_due_and_a_touched_one_is_not(folder):
    folder.finish_all()
    for file in folder.layout.results.rglob("*.json"):
        os.utime(file, (1, 1))
    assert due(folder.dag()) == {}
    (folder.layout.features("synthetic", "v1") / "zarr.json").unlink()
    assert due(folder.dag()) == {"extract_features": ["synthetic/v1"]}


def test_a_receipt_that_is_torn_does_not_count(folder):
    folder.finish_all()
    folder.layout.item_receipt("index_features", "synthetic", "l0").write_text('{"dig')
    assert due(folder.dag()) == {"index_features": ["synthetic/l0"]}


def test_a_changed_row_of_the_manifest_makes_due_what_follows_from_it(folder):
    folder.finish_all()
    folder.models[0]["pooling"] = "mean"
    found = due(folder.dag())
    assert found["extract_features"] == found["index_features"] == ["synthetic/v0"]
    assert found["measure_capability"] == ["shapes/v0"]
    assert "fetch_weights" not in found


@pytest.mark.parametrize("cluster", [False, True])
def test_every_due_item_stands_in_exactly_one_block(folder, cluster):
    dag = folder.dag(cluster)
    for rule in RULES:
        assert sorted(i.name for b in dag.blocks(rule) for i in b.items) == sorted(i.name for i in dag.due(rule))
    jobs = {rule: len(dag.blocks(rule)) for rule in RULES}
    if cluster:
        # Small work of one kind is one job; what is fetched and what is drawn stays apart.
        assert jobs["index_features"] == jobs["align_row"] == jobs["measure_capability"] == 1
        assert jobs["fetch_weights"] == 5
    else:
        assert jobs == {rule: len(dag.due(rule)) for rule in RULES}


def test_a_target_of_nothing_gives_a_job_per_item(folder):
    folder.config["jobs"] = {"cluster_target_min": 0}
    dag = folder.dag(cluster=True)
    assert len(dag.blocks("align_row")) == 5


def test_a_block_is_found_again_while_its_neighbours_and_its_own_items_finish(folder):
    dag = folder.dag(cluster=True)
    dag.write_orders()
    for rule in RULES:
        for block in dag.blocks(rule):
            folder.finish(block.items[:1])
            assert folder.dag(cluster=True).read_block(rule, block.name) == block


def test_a_block_whose_receipt_is_there_already_gets_another_name(folder):
    (block,) = folder.dag().blocks("build_dataset")
    receipt = folder.layout.job_receipt("build_dataset", block.name)
    receipt.parent.mkdir(parents=True)
    receipt.touch()
    (again,) = folder.dag().blocks("build_dataset")
    assert again.name == f"{block.name}.2"
    assert folder.dag().read_block("build_dataset", again.name).items == block.items


def test_a_job_whose_configuration_was_edited_says_so(folder):
    block = next(b for b in folder.dag().blocks("extract_features") if b.items[0].name == "synthetic/v0")
    folder.models[0]["pooling"] = "mean"
    with pytest.raises(ConfigError, match=r"edited while the sweep ran. Run the same command again"):
        folder.dag().read_block("extract_features", block.name)


def test_jobs_wait_for_the_jobs_that_make_their_inputs_and_for_no_others(folder):
    folder.finish([i for rule in RULES[:2] for i in folder.dag().items(rule)])
    folder.finish([i for i in folder.dag().items("extract_features") if i.parts[1] != "v1"])
    dag = folder.dag()
    waits = {b.items[0].name: dag.block_inputs("index_features", b.name) for b in dag.blocks("index_features")}
    (extraction,) = dag.blocks("extract_features")
    assert waits.pop("synthetic/v1") == [folder.layout.job_receipt("extract_features", extraction.name)]
    assert set(map(tuple, waits.values())) == {()}


def test_what_failed_is_left_out_with_all_that_needs_it(folder):
    folder.config["failures"] = "failures.json"
    (folder.path / "failures.json").write_text(json.dumps({"extract_features": {"synthetic/v1": "no memory"}}))
    dag = folder.dag()
    found = due(dag)
    assert "synthetic/v1" not in found["extract_features"] + found["index_features"] + found["align_row"]
    assert "shapes/v1" not in found["measure_capability"]
    assert "v1" in found["fetch_weights"]
    assert all("v1" not in (p.x, p.y) for pairs in dag.rows("synthetic").values() for p in pairs)
    assert dag.sweep.failed_with("v1") == ["extract_features on synthetic failed: no memory"]


def test_results_are_due_again_when_the_failure_is_mended(folder):
    folder.config["failures"] = "failures.json"
    (folder.path / "failures.json").write_text(json.dumps({"measure_capability": {"shapes/v1": "no memory"}}))
    folder.finish_all()
    assert due(folder.dag()) == {}
    del folder.config["failures"]
    assert due(folder.dag()) == {
        "measure_capability": ["shapes/v1"], "make_tables": ["tables"], "make_figures": ["figures"],
    }  # fmt: skip
