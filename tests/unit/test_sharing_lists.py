"""Neighbour lists travel to the last bit, and whatever is not what was exported is refused with one message."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import zooalign
from tests.unit.shared_results import PREPARATION, N, dataset, features, index, model, quiet, target
from zooalign.alignment.inference import permutation_null
from zooalign.config.imported import imported_file
from zooalign.config.manifest import read_models
from zooalign.errors import ConfigError, ShareError, ZooalignError
from zooalign.indexes.index import Index
from zooalign.provenance import sealed
from zooalign.sharing import shared_file
from zooalign.sharing.importing import dataset_of, import_results
from zooalign.sharing.lists import as_index, export_lists, index_lists
from zooalign.sharing.shared_file import read_shared

LISTS = ["mutual_knn", "jaccard_knn", "cycle_knn", "cycle_knn_reverse", "lcs_knn", "edit_distance_knn"]
WITH_SIMILARITIES = ["cknna", "cknna_exact", "cknna_centered"]
NEEDS = ("neighbors", "similarities", "centred_similarities")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(scope="module")
def exported(samples, tmp_path_factory):
    """File of the lists of one model."""
    path = tmp_path_factory.mktemp("exported") / "lab.safetensors"
    export_lists(index(samples, 1), model(), path, provenance={"weights_sha256": "a" * 64})
    return path


def sweep_index(spec, samples, folder, preparation=PREPARATION):
    """The index that a job of the sweep makes of an imported row."""
    path = folder / "index.zarr"
    index_lists(spec, samples.folder, path, preparation, 48, ["neighbors"], quiet)
    return Index.open(path)


def rewritten(path, to, header=lambda h: h, arrays=lambda a: a, checksums=True, seal=True):
    """Another file with a changed header or arrays, as whole as a malicious exporter can make it."""
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["zooalign"])
    changed = arrays(load_file(path))
    if checksums:
        about["checksums"] = {name: shared_file.checksum(a) for name, a in changed.items()}
    about = header(about)
    about = sealed(about) if seal else about
    save_file({name: np.ascontiguousarray(a) for name, a in changed.items()}, to, {"zooalign": json.dumps(about)})
    return to


# --- the round trip ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", LISTS)
def test_scores_and_nulls_of_imported_lists_are_those_of_the_exporter_to_the_last_bit(
    metric, samples, exported, tmp_path
):
    spec = import_results(exported, target(tmp_path, samples), quiet)
    own, partner, imported = index(samples, 1), index(samples, 2), sweep_index(spec, samples, tmp_path)
    module = zooalign.metrics.get(metric)
    for k in (1, 5, 20):
        assert np.array_equal(module.matrix(own, partner, k), module.matrix(imported, partner, k))
        assert np.array_equal(module.matrix(partner, own, k), module.matrix(partner, imported, k))
        assert np.array_equal(module.terms(own, partner, 1, 2, k), module.terms(imported, partner, 1, 2, k))
    nulls = [permutation_null(side, partner, metric, 5, permutations=30) for side in (own, imported)]
    assert np.array_equal(nulls[0].null, nulls[1].null)
    assert nulls[0].p_value == nulls[1].p_value
    assert np.array_equal(own.tied_share(5), imported.tied_share(5))


@pytest.mark.parametrize("metric", WITH_SIMILARITIES)
def test_with_similarities_they_give_cknna_to_the_last_bit(metric, samples, tmp_path):
    own, partner = index(samples, 1, NEEDS), index(samples, 2, NEEDS)
    export_lists(own, model(), tmp_path / "lab.safetensors", similarities=True)
    imported = as_index(read_shared(tmp_path / "lab.safetensors"))
    module = zooalign.metrics.get(metric)
    assert np.array_equal(module.matrix(own, partner, 10), module.matrix(imported, partner, 10))


def test_score_gives_the_same_for_an_imported_index(samples, exported, tmp_path):
    own, partner = index(samples, 1), index(samples, 2)
    imported = as_index(read_shared(exported))
    asked = {"metric": ["mutual_knn", "lcs_knn"], "k": [5, 10], "null": 20}
    values = [zooalign.score(side, partner, **asked).scores for side in (own, imported)]
    assert json.dumps(values[0], default=str) == json.dumps(values[1], default=str)


def test_shortened_lists_give_every_smaller_k(samples, tmp_path):
    own, partner = index(samples, 1), index(samples, 2)
    export_lists(own, model(), tmp_path / "lab.safetensors", k_max=10)
    imported = as_index(read_shared(tmp_path / "lab.safetensors"))
    matrix = zooalign.metrics.get("mutual_knn").matrix
    assert imported.k_max == 10
    assert np.array_equal(matrix(own, partner, 10), matrix(imported, partner, 10))
    with pytest.raises(ConfigError, match="have 20 neighbours"):
        export_lists(own, model(), tmp_path / "lab.safetensors", k_max=21)


def test_the_row_says_which_model_it_is_and_nothing_of_the_exporters_machine(samples, exported, tmp_path):
    spec = import_results(exported, target(tmp_path, samples), quiet)
    assert (spec.id, spec.family, spec.objective, spec.licence) == ("lab", "labs", "self-supervised", "MIT")
    assert spec.imported
    assert spec.weights_sha256 == "a" * 64
    assert "secret" not in exported.read_bytes().decode("latin-1")
    row = (tmp_path / "zoo/imported.yaml").read_text()
    assert "path: imported/shapes/lab.safetensors" in row
    assert str(tmp_path) not in row
    file = imported_file(spec, "shapes")
    assert (file.holds, file.k_max) == (("neighbors",), 20)
    assert imported_file(spec, "other") is None
    assert (tmp_path / "zoo/imported/shapes/lab.safetensors").read_bytes() == exported.read_bytes()


def test_a_second_dataset_is_added_to_the_row_and_the_zoo_can_be_moved(samples, exported, tmp_path):
    other = dataset(tmp_path, "more_shapes", 32)
    export_lists(index(other, 1, layers=features(1, 32)), model(), tmp_path / "second.safetensors")
    import_results(exported, target(tmp_path, samples), quiet)
    import_results(tmp_path / "second.safetensors", target(tmp_path, other, models=("lab",)), quiet)
    (tmp_path / "zoo").rename(tmp_path / "moved")
    (spec,) = read_models(tmp_path / "moved/imported.yaml")
    assert set(spec.options["files"]) == {"shapes", "more_shapes"}
    assert sweep_index(spec, samples, tmp_path).n == N


def test_an_id_that_is_taken_is_refused_and_another_one_is_given(samples, exported, tmp_path):
    with pytest.raises(ConfigError, match="give another one with --id"):
        import_results(exported, target(tmp_path, samples, models=("LAB",)), quiet)
    assert not (tmp_path / "zoo").exists()
    assert (
        import_results(exported, target(tmp_path, samples, models=("LAB",)), quiet, model_id="theirs").id == "theirs"
    )


@pytest.mark.parametrize("name", ["../../escaped", "a/b", "", ".hidden", "x" * 101, "a\nb"])
def test_names_that_could_leave_the_folder_are_refused(name, samples, exported, tmp_path):
    file = rewritten(exported, tmp_path / "evil.safetensors", lambda h: {**h, "model": {**h["model"], "id": name}})
    with pytest.raises(ZooalignError, match=r"evil\.safetensors"):
        import_results(file, target(tmp_path / "inside", samples), quiet)
    dataset = rewritten(
        exported, tmp_path / "d.safetensors", lambda h: {**h, "dataset": {**h["dataset"], "name": name}}
    )
    with pytest.raises(ShareError, match=r"d\.safetensors: damaged"):
        dataset_of(dataset)
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("text", ["\x1b[31mred", "x" * 1001, "a\x00b"])
def test_what_terminals_must_not_see_is_refused(text, samples, exported, tmp_path):
    file = rewritten(
        exported, tmp_path / "evil.safetensors", lambda h: {**h, "model": {**h["model"], "family": text}}
    )
    refused(file, samples, tmp_path, "no plain text")
    file = rewritten(exported, tmp_path / "evil.safetensors", lambda h: {**h, "made_with": {text: 1}})
    refused(file, samples, tmp_path, "its header cannot be read")


# --- what is refused -----------------------------------------------------------------------------------------------


def refused(path, samples, folder, match, **options):
    """One message that names the file, and nothing is written."""
    with pytest.raises(ShareError, match=match) as error:
        import_results(path, target(folder, samples), quiet, **options)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (folder / "zoo").exists()


def test_bytes_that_are_damaged_anywhere_are_never_taken(samples, exported, tmp_path):
    whole, where = exported.read_bytes(), random.Random(0)
    first = read_shared(exported)
    damaged = tmp_path / "damaged.safetensors"
    refusals = []
    for _ in range(250):
        content = bytearray(whole)
        for _ in range(where.choice([1, 1, 5])):
            # The header is a small part of the file, and half of the damage.
            place = where.randrange(where.choice([5000, len(whole)]))
            content[place] ^= where.randrange(1, 256)
        damaged.write_bytes(content)
        try:
            read = read_shared(damaged)
        except ShareError as error:
            refusals.append(str(error))
            continue
        assert read.header == first.header  # blanks of the file's own header
        assert all(np.array_equal(read.arrays[name], a) for name, a in first.arrays.items())
    assert len(refusals) > 240
    assert all("damaged.safetensors" in said for said in refusals)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 3000, -1])
def test_a_truncated_file_is_refused(size, samples, exported, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(exported.read_bytes()[:size])
    with pytest.raises(ShareError, match=r"cut\.safetensors"):
        import_results(tmp_path / "cut.safetensors", target(tmp_path, samples), quiet)


def lists(change):
    """Arrays whose neighbour lists are changed."""

    def arrays(found):
        neighbors = found["neighbors"].copy()
        change(neighbors)
        return {**found, "neighbors": neighbors}

    return arrays


def put(place, value):
    return lists(lambda neighbors: neighbors.__setitem__(place, value))


FORGED = {
    "outside": (put((0, 0, 0), N), "not among the 64 samples"),
    "itself": (put((2, 5, 3), 5), "its own neighbour"),
    "twice": (lists(lambda a: a[1, 4].__setitem__(0, a[1, 4, 1])), "twice in a list"),
    "type": (lambda a: {**a, "neighbors": a["neighbors"].astype(np.int64)}, "type int64"),
    "shape": (lambda a: {**a, "neighbors": a["neighbors"][:, :-1]}, "shape"),
    "ties": (lambda a: {**a, "tie_counts": a["tie_counts"] - 1}, "out of their range"),
    "constant": (lambda a: {**a, "constant": a["constant"] + np.uint8(2)}, "out of their range"),
    "more": (lambda a: {**a, "code": np.zeros(3)}, "it holds code"),
    "fewer": (lambda a: {n: v for n, v in a.items() if n != "tie_counts"}, "it holds constant, neighbors"),
}


@pytest.mark.parametrize("name", FORGED)
def test_lists_that_kernels_must_not_see_are_refused_whatever_their_checksums(name, samples, exported, tmp_path):
    change, match = FORGED[name]
    refused(rewritten(exported, tmp_path / "forged.safetensors", arrays=change), samples, tmp_path, match)


def header(**changes):
    return lambda about: {**about, **changes}


HEADERS = {
    "version": (header(format_version=2), "another version of zooalign"),
    "format": (header(format="other"), "its header cannot be read"),
    "more": (header(run="me"), "its header cannot be read"),
    "ids": (header(sample_ids=["a"] * N), "64 rows are not the 64 samples"),
    "short": (header(sample_ids=["a", "b"]), "shape"),
    "dataset": (header(dataset={"name": "shapes", "digest": "0" * 64}), "'shapes' of content 000000000000, and"),
    "preparation": (header(preparation={**PREPARATION, "clamp_quantile": 0.9}), "0.9, and the sweep has 0.95"),
    "normalise": (header(preparation={**PREPARATION, "normalise": "none"}), "found with normalise 'none'"),
    "search": (header(made_with={"indexes.neighbors": 1}), "another version of zooalign"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_what_is_not_of_this_sweep_is_refused(name, samples, exported, tmp_path):
    change, match = HEADERS[name]
    refused(rewritten(exported, tmp_path / "other.safetensors", change), samples, tmp_path, match)


def test_an_edited_header_is_refused(samples, exported, tmp_path):
    edited = rewritten(exported, tmp_path / "edited.safetensors", header(layer_names=["x", "y", "z"]), seal=False)
    refused(edited, samples, tmp_path, "its header was edited")


def test_a_file_of_another_tool_is_refused(samples, tmp_path):
    save_file({"a": np.zeros((3, 3), np.float32)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ShareError, match="has no header of zooalign"):
        read_shared(tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    refused(tmp_path / "text.safetensors", samples, tmp_path, "text.safetensors")
    with pytest.raises(ShareError, match="no such file"):
        read_shared(tmp_path / "none.safetensors")


def test_lists_in_another_order_are_refused_and_put_right_when_asked_to(samples, tmp_path):
    """An index of shuffled rows names other neighbours: put right, it is the unshuffled one."""
    order = np.random.default_rng(3).permutation(N)
    ids = [samples.ids[i] for i in order]
    shuffled, own = index(samples, 1, layers=[layer[order] for layer in features(1)]), index(samples, 1)
    shuffled.sample_ids = ids
    export_lists(shuffled, model(), tmp_path / "shuffled.safetensors")
    refused(tmp_path / "shuffled.safetensors", samples, tmp_path, "another order than .* --reorder")
    refused(tmp_path / "shuffled.safetensors", samples, tmp_path, "another order", force=True)
    spec = import_results(tmp_path / "shuffled.safetensors", target(tmp_path, samples), quiet, reorder=True)
    imported = sweep_index(spec, samples, tmp_path)
    assert np.array_equal(imported.neighbors, own.neighbors)
    assert imported.sample_ids == samples.ids


def test_a_file_that_changed_after_its_import_fails_the_job(samples, exported, tmp_path):
    spec = import_results(exported, target(tmp_path, samples), quiet)
    copy = tmp_path / "zoo/imported/shapes/lab.safetensors"
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    with pytest.raises(ShareError, match="changed since it was imported"):
        sweep_index(spec, samples, tmp_path)
    copy.unlink()
    with pytest.raises(ShareError, match="no such file"):
        sweep_index(spec, samples, tmp_path)


def test_the_job_refuses_lists_of_another_preparation_or_dataset(samples, exported, tmp_path):
    spec = import_results(exported, target(tmp_path, samples), quiet)
    with pytest.raises(ShareError, match="clamp_scope"):
        sweep_index(spec, samples, tmp_path, {**PREPARATION, "clamp_scope": "none"})
    other = dataset(tmp_path, n=32)
    with pytest.raises(ShareError, match="of content"):
        sweep_index(spec, other, tmp_path)
