"""Every table, figure, capability and source keeps what its module declares, and declares what it does.

Files are found as the library finds them; one that is not listed here with an example fails.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.unit import test_capability_bits_per_byte as bits
from tests.unit import test_capability_language_task as tasks
from tests.unit import test_capability_linear_probe as probe
from tests.unit.synthetic_findings import MODELS, SCORES, findings, lines_of, many, model
from zooalign.capability._record import CapabilityError, CapabilityRecord
from zooalign.closed import Closed
from zooalign.config.schema import CapabilityConfig, HeadlineConfig
from zooalign.errors import StoreError
from zooalign.registry import plugin, plugin_names
from zooalign.results.findings import is_recorded, make_result, recorded_digest
from zooalign.results.publishing import SUFFIXES
from zooalign.storage.journal import Journal
from zooalign.workflow.rules.results import FIGURE_SUFFIXES

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "src/zooalign"
PACKAGES = ("tables", "figures", "capability", "sources")
MODULES = [(package, name) for package in PACKAGES for name in plugin_names(package)]
# What a module of each room may declare; every other upper-case name is its own and starts with an underscore, or is
# listed here with what it is.
DECLARATIONS = {
    "tables": {"VERSION", "NEEDS_CAPABILITY", "READS_SENSITIVITY"},
    "figures": {"VERSION", "NEEDS_CAPABILITY", "READS_SENSITIVITY"},
    "capability": {
        "VERSION", "APPLIES_TO", "CAUSAL_ONLY", "NEEDS", "READS", "KEEPS_JOURNAL", "UNIT", "HIGHER_IS_BETTER",
    },
    "sources": {"VERSION", "LOADS_PRECISION", "LOADS_TO_DEVICE"},
}  # fmt: skip
CONSTANTS = {
    "alignment": {"KEY"},
}


def declared(module):
    """Upper-case names that a module itself assigns, but for types."""
    assigned = set(re.findall(r"^([A-Z][A-Z_]+)(?:: [^=]+)? = ", Path(module.__file__).read_text(), re.M))
    return {name for name in assigned if hasattr(module, name)}


@pytest.mark.parametrize(("package", "name"), MODULES)
def test_declares_what_the_room_knows_and_nothing_else(package, name):
    module = plugin(package, name, package)
    assert declared(module) <= DECLARATIONS[package] | CONSTANTS.get(name, set())
    assert isinstance(module.VERSION, int)
    assert module.VERSION >= 1
    assert inspect.getdoc(module)


OPTIONAL = [m for m in MODULES if hasattr(plugin(*m, m[0]), "Options")]


@pytest.mark.parametrize(("package", "name"), OPTIONAL)
def test_options_are_closed_described_and_read(package, name):
    """A key that nothing reads would be accepted and ignored."""
    module = plugin(package, name, package)
    assert issubclass(module.Options, Closed)
    file = Path(module.__file__)
    files = [file, *file.parent.glob("_*.py"), *file.parent.parent.glob("_*.py")]
    text = "".join(f.read_text() for f in files)
    for key, field in module.Options.model_fields.items():
        assert field.description, f"{name}: option {key} has no description"
        assert re.search(rf"\b(options|self)\.{key}\b", text), f"{name}: nothing reads the option {key}"
    read = set(re.findall(r"\boptions\.([a-z]\w*)", Path(module.__file__).read_text()))
    known = set(module.Options.model_fields) | set(dir(module.Options))
    assert read <= known, f"{name}: reads options that it does not have"


# --- tables and figures --------------------------------------------------------------------------------------------

VALUES = {
    "bits_per_byte": {"gpt": 1.0, "noise_l": 3.0},
    "other_bits": {"gpt": 2.0, "noise_l": 2.5},
    "probe": {"cnn": 0.8, "vit": 0.9},
}


def sweep(folder, capabilities=("bits_per_byte",), datasets=("pictures",), headline=None):
    """What a small sweep found, by several metrics and k, on up to two datasets."""
    lines = lines_of(settings=(("mutual_knn", 10), ("mutual_knn", 5)))
    for entry in lines:
        entry["score"] *= 1 if entry["k"] == 10 else 0.9
    lines += lines_of({pair: s**2 for pair, s in SCORES.items()}, settings=(("cka", 0),))
    if "emoji" in datasets:
        lines += [entry | {"dataset": "emoji", "score": 0.9 * entry["score"]} for entry in lines]
    chosen = {name: VALUES[name] for name in capabilities}
    return findings(folder, lines=lines, capabilities=chosen, datasets=datasets, headline=headline)


def make(package, name, found, folder):
    """Make a table or a figure as a job does; return what was written, by suffix."""
    suffixes = SUFFIXES if package == "tables" else FIGURE_SUFFIXES
    files = [folder / f"a.b{suffix}" for suffix in suffixes]
    make_result(found.sweep, package, name, found.row_paths, found.capability_paths, files, print, "pictures")
    assert is_recorded(files)
    assert recorded_digest(files) == found.digest(package, name)
    written = [file for file in folder.iterdir() if file.is_file()]
    return {file.name.removeprefix("a.b"): file.read_bytes() for file in written}


RESULTS = [(package, name) for package in ("tables", "figures") for name in plugin_names(package)]


@pytest.mark.parametrize(("package", "name"), RESULTS)
def test_writes_the_declared_files_and_no_others(package, name, tmp_path):
    first = make(package, name, sweep(tmp_path), tmp_path / "first")
    assert set(first) == set(SUFFIXES if package == "tables" else FIGURE_SUFFIXES)
    assert all(first.values())
    assert make(package, name, sweep(tmp_path), tmp_path / "second") == first


@pytest.mark.parametrize("name", plugin_names("tables"))
def test_every_column_of_a_table_is_described(name, tmp_path):
    table = plugin("tables", name, "table").table(sweep(tmp_path, capabilities=tuple(VALUES)))
    assert table.title
    assert table.notes
    assert len(table.shown) > 1
    for column in table.columns:
        assert column.meaning.strip() == column.meaning != ""
        assert "\n" not in column.meaning + column.unit


@pytest.mark.parametrize(("package", "name"), RESULTS)
def test_needs_a_capability_exactly_where_it_says_so(package, name, tmp_path):
    found = sweep(tmp_path, capabilities=())
    if getattr(plugin(package, name, package), "NEEDS_CAPABILITY", False):
        with pytest.raises(StoreError, match="capability"):
            make(package, name, found, tmp_path / "out")
    else:
        assert make(package, name, found, tmp_path / "out")


# Enough models for every figure to have something to show: a damaged one, and capabilities of four or more.
LADDER = (
    *MODELS, *many(4, families=2),
    *(model(f"m00_noise_{i}", "language", "mf0", variant_of="m00", intervention={"weight_noise": i}) for i in (1, 2)),
)  # fmt: skip
LADDER_SCORES = SCORES | {
    (v, m.id): 0.1 + 0.02 * i for v in ("cnn", "vit", "noise_v") for i, m in enumerate(LADDER[len(MODELS) :])
}
LADDER_VALUES = {
    "bits_per_byte": {m.id: 1.0 + 0.1 * i for i, m in enumerate(LADDER) if m.modality == "language"},
    "quiz": {m.id: 0.4 + 0.05 * i for i, m in enumerate(LADDER) if m.modality == "language"},
    "probe": VALUES["probe"],
}
# They show all metrics, or all k of some metrics, whatever the headline is.
SHOW_ALL = {("figures", "metric_agreement"), ("figures", "cknna_k")}


def ladder(folder, headline=None):
    """What a sweep found that has something to show in every table and figure."""
    lines = lines_of(LADDER_SCORES, settings=(("mutual_knn", 10), ("mutual_knn", 5), ("cka", 0)), models=LADDER)
    for entry in lines:
        entry["score"] *= 0.9 if entry["k"] == 5 else 0.8 if entry["metric"] == "cka" else 1
    return findings(
        folder, models=LADDER, lines=lines, capabilities=LADDER_VALUES, headline=headline,
        sensitivity={"precision": ["float16"]},
    )  # fmt: skip


@pytest.mark.parametrize(("package", "name"), RESULTS)
def test_the_headline_decides_what_is_shown(package, name, tmp_path):
    """Metric and k are at least in the header of a table, and in what a figure says of itself."""
    usual = make(package, name, ladder(tmp_path / "usual"), tmp_path / "usual/out")
    for headline in (HeadlineConfig(metric="cka", k=None), HeadlineConfig(k=5)):
        folder = tmp_path / f"{headline.metric}{headline.k}"
        made = make(package, name, ladder(folder, headline), folder / "out")
        if (package, name) in SHOW_ALL:
            assert made == usual
        else:
            assert all(made[suffix] != usual[suffix] for suffix in made), f"{name}: {headline} changes nothing"


@pytest.mark.parametrize("name", plugin_names("tables"))
def test_every_dataset_is_in_every_table(name, tmp_path):
    found = sweep(tmp_path, ("bits_per_byte", "probe"), ("pictures", "emoji"))
    made = make("tables", name, found, tmp_path / "out")
    assert b"emoji" in made[".csv"]
    assert b"emoji" in made[".md"]


@pytest.mark.parametrize(("package", "name"), [m for m in OPTIONAL if m[0] == "figures"])
def test_every_option_of_a_figure_comes_from_the_configuration(package, name, tmp_path, monkeypatch):
    module, kept = plugin(package, name, package), []
    original = module.Options
    monkeypatch.setattr(module, "Options", lambda **options: kept.append(options) or original(**options))
    make(package, name, sweep(tmp_path), tmp_path / "out")
    assert [set(options) for options in kept] == [set(original.model_fields)]


def test_the_default_configuration_names_tables_and_figures_that_exist():
    from zooalign.config.schema import Config

    for package in ("tables", "figures"):
        assert set(Config.model_fields[package].default) == set(plugin_names(package))


# --- capabilities --------------------------------------------------------------------------------------------------


def probed(distance):
    x, labels = probe.blobs(distance=distance)
    return probe.store_of(x), probe.labelled(labels)


def sharp(scale):
    """Logits that expect the byte 'a', more or less."""
    import torch

    return lambda ids: torch.nn.functional.one_hot(torch.full_like(ids, ord("a")), bits.VOCABULARY) * scale


def asked(choices):
    """A question whose right answer is the first of some letters."""
    config = {
        "task": "letters", "output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{text}}",
        "doc_to_choice": "choices", "doc_to_target": "label", "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    rows = [{"text": f"{i}:", "choices": list(choices), "label": 0} for i in range(3)]
    return tasks.questions(config, {"letters": {"test": rows}})


# For each kind, two subjects on the same samples: the better first.
EXAMPLES = {
    "linear_probe": lambda: [probed(12.0), probed(0.5)],
    "published_bits_per_byte": lambda: [
        (bits.ByteModel(sharp(s)), bits.texts("aaaa" * 20, "aaa")) for s in (6.0, 1.0)
    ],
    "language_task": lambda: [(bits.ByteModel(sharp(s)), asked("ab")) for s in (6.0, -6.0)],
    "bits_per_byte": lambda: [(bits.ByteModel(sharp(s)), bits.texts("aaaa" * 20, "aaa")) for s in (6.0, 1.0)],
}


def measured(name, subject, samples, journal=None):
    module = plugin("capability", name, "capability")
    further = {} if journal is None else {"journal": journal}
    return module.measure(subject, samples, module.Options(), lambda line: None, **further)


def test_every_capability_has_an_example_here():
    assert set(EXAMPLES) == set(plugin_names("capability"))


@pytest.mark.parametrize("name", plugin_names("capability"))
def test_records_say_what_the_kind_declares(name):
    module = plugin("capability", name, "capability")
    better, worse = (measured(name, *example) for example in EXAMPLES[name]())
    for record in (better, worse):
        checked = CapabilityRecord(**json.loads(json.dumps({**record, "model": "m", "digest": "d"})))
        assert (checked.unit, checked.higher_is_better) == (module.UNIT, module.HIGHER_IS_BETTER)
    assert (better["value"] > worse["value"]) == module.HIGHER_IS_BETTER
    assert better["value"] != worse["value"]


@pytest.mark.parametrize("name", plugin_names("capability"))
def test_a_journal_is_kept_exactly_where_it_is_declared(name, tmp_path, monkeypatch):
    module = plugin("capability", name, "capability")
    keeps = getattr(module, "KEEPS_JOURNAL", False)
    assert ("journal" in inspect.signature(module.measure).parameters) == keeps
    if keeps:
        ((subject, samples), _) = EXAMPLES[name]()
        journal = Journal(tmp_path / "m.json", "d")
        measured(name, subject, samples, journal)
        assert list(tmp_path.iterdir()), "nothing was written down on the way"


@pytest.mark.parametrize("name", plugin_names("capability"))
def test_applies_to_the_declared_models(name):
    """A sweep measures it for models of that modality, and for causal ones alone where it says so."""
    from zooalign.config.schema import Config
    from zooalign.config.sweep import Sweep

    module = plugin("capability", name, "capability")
    assert module.APPLIES_TO in ("vision", "language")
    assert module.NEEDS in ("features", "model")
    assert module.NEEDS == "features" or module.APPLIES_TO == "language"
    chosen = CapabilityConfig(id="x", kind=name, dataset="pictures")
    config = Config(zoo=(), datasets=("pictures",), metrics={"cka": {}}, capabilities=(chosen,))
    those = Sweep(config, MODELS, {}, {}).measured(chosen)
    causal = getattr(module, "CAUSAL_ONLY", False)
    expected = [m.id for m in MODELS if m.modality == module.APPLIES_TO and (m.causal or not causal)]
    assert [m.id for m in those] == expected
    assert set(expected) < {m.id for m in MODELS}
    ((subject, samples), _) = EXAMPLES[name]()
    subject.causal = False
    if causal:
        with pytest.raises(CapabilityError, match="causal"):
            measured(name, subject, samples)
    else:
        assert measured(name, subject, samples)["value"] is not None


# --- sources -------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "weight_file": ["options", "folder"],
    "prepare": ["options", "weight_file", "folder"],
    "load": ["options", "weight_file", "folder"],
}
# Read from the hub, which tests do not reach: tests/unit/test_network.py lays a hub's folder out.
NOT_PACKAGED = {"imported", "small_alexnet", "timm", "transformers_vision"}


@pytest.mark.parametrize("name", plugin_names("sources"))
def test_sources_have_the_functions_that_the_room_calls(name):
    module = plugin("sources", name, "source")
    for function, parameters in PARAMETERS.items():
        if function != "prepare" or hasattr(module, function):
            if function == "load":
                more = {"precision": "LOADS_PRECISION", "device": "LOADS_TO_DEVICE"}
                parameters = [*parameters, *(name for name, says in more.items() if getattr(module, says, False))]
            assert list(inspect.signature(getattr(module, function)).parameters) == parameters
            assert inspect.getdoc(getattr(module, function)), f"{name}.{function}"


def test_every_source_is_used_by_a_row_or_named_here():
    """So that a new file is loaded, pooled and counted by the tests of the packaged zoo."""
    packaged = [ROOT / f"config/zoo/{name}.yaml" for name in ("packaged", "gemma", "nsfwjs", "packaged-more")]
    rows = [row for file in packaged for row in yaml.safe_load(file.read_text())["models"]]
    used = {row["source"] for row in rows}
    assert used | NOT_PACKAGED == set(plugin_names("sources"))
    assert not used & NOT_PACKAGED
