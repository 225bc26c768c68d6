"""Every table, figure, capability and source keeps what its module declares, and declares what it does.

Files are found as the library finds them; one that is not listed here with an example fails.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.unit import test_capability_bits_per_byte as bits
from tests.unit import test_capability_language_task as tasks
from tests.unit import test_capability_linear_probe as probe
from tests.unit.test_tables import MODELS, all_lines, line, write_rows
from zooalign.capability._record import CapabilityError, CapabilityRecord
from zooalign.closed import Closed
from zooalign.config.schema import CapabilityConfig, HeadlineConfig
from zooalign.errors import StoreError
from zooalign.registry import plugin, plugin_names
from zooalign.results.findings import Findings
from zooalign.storage.journal import Journal

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "src/zooalign"
PACKAGES = ("tables", "figures", "capability", "sources")
MODULES = [(package, name) for package in PACKAGES for name in plugin_names(package)]
# What a module of each room may declare; every other upper-case name is its own and starts with an underscore, or is
# listed here with what it is.
DECLARATIONS = {
    "tables": {"VERSION", "SUFFIXES", "NEEDS_CAPABILITY", "READS_ASKED", "READS_TAGS"},
    "figures": {"VERSION", "NEEDS_CAPABILITY"},
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


@pytest.mark.parametrize(("package", "name"), [m for m in MODULES if m != ("tables", "alignment")])
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


def findings(folder, *, headline=None, capabilities=("bits_per_byte",), datasets=("pictures",)):
    """What a small sweep found, on disk, as the workflow hands it over."""
    lines = all_lines()
    lines += [line(e["model_x"], e["model_y"], e["score"] ** 2, k=0, metric="cka") for e in lines if e["k"] == 10]
    if "emoji" in datasets:
        lines += [entry | {"dataset": "emoji", "score": 0.9 * entry["score"]} for entry in lines]
    rows = write_rows(folder / "rows", lines)
    values = {
        "bits_per_byte": {"gpt": 1.0, "noise_l": 3.0},
        "other_bits": {"gpt": 2.0, "noise_l": 2.5},
        "probe": {"cnn": 0.8, "vit": 0.9},
    }
    paths = []
    for capability in capabilities:
        for model, value in values[capability].items():
            record = {
                "capability": capability, "model": model, "value": value, "standard_error": 0.02,
                "unit": "accuracy" if capability == "probe" else "bits/byte",
                "higher_is_better": capability == "probe", "n": 50,
                "details": {}, "settings": {}, "versions": {}, "digest": "d",
            }  # fmt: skip
            path = folder / "capability" / capability / f"{model}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record))
            paths.append(path)
    models = [SimpleNamespace(**row) for row in MODELS.to_dict(orient="records")]
    config = SimpleNamespace(headline=headline or HeadlineConfig(), capability_sources=(), capabilities=())
    sweep = SimpleNamespace(
        external=(),
        zoo=(),
        config=config,
        models=models,
        failures={},
        left_out={},
        datasets=lambda: datasets,
        failed_with=lambda model: [],
    )
    return Findings(sweep, tuple(rows), tuple(paths))


def make(package, name, found, folder):
    """Make a table or a figure; return what was written, by suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    module = plugin(package, name, package)
    if package == "tables":
        module.write(found, folder / "a.b")
    else:
        module.draw(found, "pictures", folder / "a.b")
    return {file.name.removeprefix("a.b"): file.read_bytes() for file in folder.iterdir()}


RESULTS = [(package, name) for package in ("tables", "figures") for name in plugin_names(package)]


@pytest.mark.parametrize(("package", "name"), RESULTS)
def test_writes_the_declared_files_and_no_others(package, name, tmp_path):
    module = plugin(package, name, package)
    suffixes = module.SUFFIXES if package == "tables" else (".svg", ".png")
    first = make(package, name, findings(tmp_path), tmp_path / "first")
    assert set(first) == set(suffixes)
    assert len(set(suffixes)) == len(suffixes)
    assert all(first.values())
    assert make(package, name, findings(tmp_path), tmp_path / "second") == first


@pytest.mark.parametrize(("package", "name"), RESULTS)
def test_needs_a_capability_exactly_where_it_says_so(package, name, tmp_path):
    found = findings(tmp_path, capabilities=())
    if getattr(plugin(package, name, package), "NEEDS_CAPABILITY", False):
        with pytest.raises(StoreError, match="capability"):
            make(package, name, found, tmp_path / "out")
    else:
        assert make(package, name, found, tmp_path / "out")


@pytest.mark.parametrize(("package", "name"), [m for m in RESULTS if m != ("tables", "alignment")])
def test_every_option_comes_from_the_configuration_and_changes_what_is_written(package, name, tmp_path, monkeypatch):
    module = plugin(package, name, package)
    both = ("bits_per_byte", "other_bits", "probe")
    usual = make(package, name, findings(tmp_path, capabilities=both), tmp_path / "usual")
    changed = {
        "metric": {"headline": HeadlineConfig(metric="cka", k=None)},
        "k": {"headline": HeadlineConfig(k=5)},
        "capability": {"headline": HeadlineConfig(capability="other_bits")},
        "datasets": {"datasets": ("pictures", "emoji")},
    }
    kept = []
    original = module.Options
    monkeypatch.setattr(module, "Options", lambda **options: kept.append(options) or original(**options))
    for key, how in changed.items():
        folder = tmp_path / key
        made = make(package, name, findings(folder, **{"capabilities": both} | how), folder / "out")
        if key in original.model_fields:
            assert made != usual, f"{name}: {key} changes nothing"
    assert all(set(options) == set(original.model_fields) for options in kept)
    derived = {"dataset", "symmetric"}  # the file's own dataset, and what the metric declares
    assert set(original.model_fields) <= set(changed) | derived, f"{name}: an option that no configuration sets"


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
    models = tuple(SimpleNamespace(**row, weights=row["id"]) for row in MODELS.to_dict(orient="records"))
    config = Config(zoo=(), datasets=("pictures",), metrics={"cka": {}}, capabilities=(chosen,))
    sweep = Sweep(config, models, {}, {})
    causal = getattr(module, "CAUSAL_ONLY", False)
    expected = [m.id for m in models if m.modality == module.APPLIES_TO and (m.causal or not causal)]
    assert [m.id for m in sweep.measured(chosen)] == expected
    assert set(expected) < set(MODELS["id"])
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
NOT_PACKAGED = {"small_alexnet", "timm", "transformers_vision"}


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
