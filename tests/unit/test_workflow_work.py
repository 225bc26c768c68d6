"""Which row holds a pair, and which items are due."""

import json
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from zooalign.alignment.pairs import Pair, all_pairs, assign_pairs
from zooalign.config.schema import Config
from zooalign.config.sweep import load_sweep, read_config
from zooalign.errors import ConfigError
from zooalign.layout import Layout
from zooalign.workflow import session
from zooalign.workflow.checks import DONE, Verdict
from zooalign.workflow.rules import RULES
from zooalign.workflow.work import Item, Work

TABLES = Config.model_fields["tables"].default

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


# --- items ---


class Folder:
    """A configuration on disk, and verdicts on artefacts in place of artefacts."""

    def __init__(self, path, monkeypatch, n_vision=3, n_language=2):
        self.path, self.layout, self.monkeypatch = path, Layout(path / "results"), monkeypatch
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

    def work(self, **options):
        (self.path / "zoo.yaml").write_text(yaml.safe_dump({"models": self.models}))
        return Work(load_sweep(self.config, self.path), self.layout, **options)

    def finish_all(self, but=()):
        """Pretend that every artefact but these is the wanted one."""
        for rule in RULES.values():

            def check(self, work, *parts):
                return Verdict("stale", "made up") if Item(self.name, parts) in but else DONE

            self.monkeypatch.setattr(type(rule), "check", check)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    return Folder(tmp_path, monkeypatch)


def due(work):
    return {rule: sorted(item.name for item in work.due(rule)) for rule in RULES if work.due(rule)}


def test_at_first_everything_is_due_and_afterwards_nothing(folder):
    counts = {rule: len(names) for rule, names in due(folder.work()).items()}
    assert counts == {
        "build_dataset": 1, "fetch_weights": 5, "extract_features": 5, "index_features": 5, "align_row": 5,
        "infer_row": 5, "measure_capability": 3, "make_tables": len(TABLES), "make_figures": 1,
        "make_report": 1,
    }  # fmt: skip
    folder.finish_all()
    assert due(folder.work()) == {}


RESULTS = {
    "make_tables": sorted(TABLES),
    "make_figures": ["heat_map/synthetic"],
    "make_report": ["report"],
}


@pytest.mark.parametrize(
    ("changed", "follows"),
    [
        (Item("make_tables", ("alignment",)), {"make_tables": ["alignment"], "make_report": ["report"]}),
        (Item("make_figures", ("heat_map", "synthetic")), {"make_figures": ["heat_map/synthetic"]}),
        (Item("measure_capability", ("shapes", "v1")), {"measure_capability": ["shapes/v1"], **RESULTS}),
        (Item("align_row", ("synthetic", "l0")), {"align_row": ["synthetic/l0"], **RESULTS}),
        (Item("infer_row", ("synthetic", "l0")), {"infer_row": ["synthetic/l0"], **RESULTS}),
    ],
)
def test_what_is_due_is_the_artefact_and_what_is_made_from_it(folder, changed, follows):
    folder.finish_all(but=[changed])
    assert due(folder.work()) == follows


def test_features_take_their_index_the_rows_that_read_it_and_their_probe_along(folder):
    folder.finish_all(but=[Item("extract_features", ("synthetic", "v1"))])
    work = folder.work()
    found = due(work)
    assert found["extract_features"] == found["index_features"] == ["synthetic/v1"]
    assert found["measure_capability"] == ["shapes/v1"]
    readers = [f"synthetic/{m['id']}" for m in folder.models if "v1" in work.row_members("synthetic", m["id"])]
    assert found["align_row"] == found["infer_row"] == sorted(readers)
    assert len(readers) < 5
    assert "fetch_weights" not in found


def test_without_nulls_and_intervals_the_rule_has_no_items_and_with_groups_it_reads_the_dataset(folder):
    item = Item("infer_row", ("synthetic", "l0"))
    assert Item("build_dataset", ("synthetic",)) in folder.work().needs(item)
    folder.config["inference"] = {"groups": False}
    assert {need.rule for need in folder.work().needs(item)} == {"index_features"}
    for one in ("null", "intervals"):
        folder.config["inference"] = {one: "none"}
        assert folder.work().items("infer_row")
    folder.config["inference"] = {"null": "none", "intervals": "none"}
    assert not folder.work().items("infer_row")


@pytest.mark.parametrize(
    ("inference", "k_max"),
    [({}, 48), ({"intervals": "all"}, 125), ({"intervals": "none", "null": "all"}, 48)],
)
def test_indexes_are_long_enough_for_the_intervals_that_are_asked_for(folder, inference, k_max):
    folder.config |= {"inference": inference, "metrics": {"mutual_knn": {"k": [10, 40]}}}
    assert folder.work().sweep.index_settings()["k_max"] == k_max


def test_inputs_of_a_job_are_files_that_other_rules_declare(folder):
    work = folder.work()
    files = session.all_files(work)
    declared = {file for names in files.values() for file in names}
    assert len(declared) == sum(map(len, files.values()))
    for item in work.all_items():
        assert set(session.needed_files(work, item)) <= declared


def test_what_failed_is_left_out_with_all_that_needs_it(folder):
    folder.config["failures"] = "failures.json"
    (folder.path / "failures.json").write_text(json.dumps({"extract_features": {"synthetic/v1": "no memory"}}))
    work = folder.work()
    found = due(work)
    for rule in ("extract_features", "index_features", "align_row", "infer_row"):
        assert "synthetic/v1" not in found[rule]
    assert "shapes/v1" not in found["measure_capability"]
    assert "v1" in found["fetch_weights"]
    assert all("v1" not in (p.x, p.y) for pairs in work.rows("synthetic").values() for p in pairs)
    assert work.sweep.failed_with("v1") == ["extract_features on synthetic failed: no memory"]


@pytest.mark.parametrize(
    ("named", "item", "made_anew"),
    [
        (["*"], Item("fetch_weights", ("v0",)), True),
        (["align_row"], Item("align_row", ("synthetic", "v0")), True),
        (["zoo_align_row"], Item("align_row", ("synthetic", "v0")), True),
        (["align_row"], Item("index_features", ("synthetic", "v0")), False),
        (["results/weights/v0/weights.json"], Item("fetch_weights", ("v0",)), True),
        (["results/weights/v0/weights.json"], Item("fetch_weights", ("v1",)), False),
        ([], Item("fetch_weights", ("v0",)), False),
    ],
)
def test_what_the_user_names_is_made_although_it_is_there(folder, monkeypatch, named, item, made_anew):
    monkeypatch.chdir(folder.path)
    assert folder.work(anew=tuple(named)).settings(item)["anew"] is made_anew


def test_paths_resolve_against_the_first_folder_that_has_them(folder, tmp_path):
    folder.work()
    other = tmp_path / "other"
    other.mkdir()
    assert load_sweep(folder.config, [other, folder.path]).models
    (other / "zoo.yaml").write_text(yaml.safe_dump({"models": folder.models[:2]}))
    assert len(load_sweep(folder.config, [other, folder.path]).models) == 2
    with pytest.raises(ConfigError, match=r"other/nowhere.yaml: no such file"):
        load_sweep({**folder.config, "zoo": ["nowhere.yaml"]}, [other, folder.path])


def test_file_times_are_made_to_agree_with_digests_and_nothing_else_is_touched(folder):
    work = folder.work()
    items = work.all_items()
    late = Item("align_row", ("synthetic", "l0"))
    for i, item in enumerate(reversed(items)):
        for file in work.files(*item):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            os.utime(file, (1000 + i, 1000 + i))  # inputs are newer than what is made from them
    folder.finish_all(but=[late])
    work = folder.work()
    session.settle(work)
    for item in items:
        oldest = min(file.stat().st_mtime for file in work.files(*item))
        newest = max((work.file(*need).stat().st_mtime for need in work.needs(item)), default=0)
        assert (oldest >= newest) is (not work.is_due(item)), item
    assert session.marks(work, late) == [str(folder.layout.results / ".due/stale")]
    assert session.marks(work, items[0]) == []
    before = [file.stat().st_mtime_ns for item in items for file in work.files(*item)]
    session.settle(folder.work())
    assert [file.stat().st_mtime_ns for item in items for file in work.files(*item)] == before


def test_jobs_of_snakemake_are_known_by_their_rule_whatever_stands_before_its_name():
    wildcards = {"dataset": "d", "model": "m", "figure": "f"}
    assert session.item_of("align_row", wildcards) == Item("align_row", ("d", "m"))
    assert session.item_of("zoo_extract_features", wildcards) == Item("extract_features", ("d", "m"))
    assert session.item_of("make_table_alignment", {}) == Item("make_tables", ("alignment",))
    assert session.item_of("zoo_make_figure", wildcards) == Item("make_figures", ("f", "d"))
    assert session.item_of("all", {}) is None
    assert (
        session.item_of("make_report", {})
        == session.item_of("zoo_make_report", {})
        == Item("make_report", ("report",))
    )
    assert session.item_of("make_tables", {}) is None
