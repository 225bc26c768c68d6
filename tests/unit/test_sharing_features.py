"""Features go out for other tools and come in from them, to the precision in which they are stored."""

from __future__ import annotations

import datasets
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray
import yaml
from safetensors.numpy import save_file

from tests.unit.shared_results import N, dataset, features, index, model, quiet, store, target
from zooalign.errors import ConfigError, ShareError, ZooalignError
from zooalign.features.store import FeatureStore
from zooalign.sharing.features import FORMS, export_features, store_features
from zooalign.sharing.importing import dataset_of, import_results
from zooalign.sharing.reading import read_features

FOREIGN = {"modality": "vision", "family": "labs", "objective": "supervised", "licence": "MIT"}
NAMES = ["in", "middle", "out"]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("datasets"))


def stored_again(path, samples, folder, **options):
    """The store that a job of the sweep makes of imported features."""
    spec = import_results(path, target(folder, samples, options.pop("stored", ())), quiet, **options)
    store_features(spec, samples.folder, folder / "again.zarr", quiet)
    return FeatureStore.open(folder / "again.zarr")


def same(one, other):
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# --- out -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("form", FORMS)
def test_what_was_exported_comes_back_to_the_last_bit(form, dtype, samples, tmp_path):
    path = tmp_path / ("features.parquet" if form == "parquet" else "features")
    export_features(store(tmp_path / "s.zarr", samples, 1, np.dtype(dtype)), model(), path, form)
    assert dataset_of(path) == "shapes"
    again = stored_again(path, samples, tmp_path)
    assert same(again.layers(), features(1, dtype=dtype))
    assert (again.layer_names, again.sample_ids) == (NAMES, samples.ids)
    assert again.attributes["model"]["licence"] == "MIT"


def test_xarray_opens_the_zarr_export_with_names(samples, tmp_path):
    export_features(store(tmp_path / "s.zarr", samples, 1), model(), tmp_path / "out.zarr", "zarr")
    opened = xarray.open_zarr(tmp_path / "out.zarr")
    assert dict(opened["features"].sizes) == {"layer": 3, "sample": N, "feature": 16}
    assert opened["layer"].values.tolist() == NAMES
    assert opened["sample"].values.tolist() == samples.ids
    layer = opened["features"].sel(layer="middle", sample=samples.ids[7]).dropna("feature")
    assert np.array_equal(layer.values, features(1)[1][7])
    assert opened["width"].values.tolist() == [10, 13, 16]


def test_hugging_face_loads_the_folder_and_its_card_has_licence_and_provenance(samples, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    about = {"weights_sha256": "a" * 64}
    export_features(store(tmp_path / "s.zarr", samples, 1), model(), tmp_path / "hub", "huggingface", about)
    loaded = datasets.load_dataset(str(tmp_path / "hub"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == ["sample_id", *NAMES]
    assert loaded["sample_id"][:] == samples.ids
    assert np.array_equal(np.array(loaded[5]["out"], np.float16), features(1)[2][5])
    card = (tmp_path / "hub/README.md").read_text()
    assert all(text in card for text in ('license_name: "MIT"', "a" * 64, samples.digest, "torch 2"))
    assert "secret" not in card


def test_a_licence_of_any_text_leaves_the_card_readable(samples, tmp_path):
    spec = model().model_copy(update={"licence": 'Terms: "as is", no # warranty'})
    export_features(store(tmp_path / "s.zarr", samples, 1), spec, tmp_path / "hub", "huggingface")
    header = (tmp_path / "hub/README.md").read_text().split("---")[1]
    assert yaml.safe_load(header)["license_name"] == spec.licence


def test_an_unknown_form_is_refused(samples, tmp_path):
    with pytest.raises(ConfigError, match="zarr, parquet, huggingface"):
        export_features(store(tmp_path / "s.zarr", samples, 1), model(), tmp_path / "x", "csv")


# --- in ------------------------------------------------------------------------------------------------------------


def save(path, layers, ids):
    """Features as other tools save them."""
    named = {f"layer_{i}": layer for i, layer in enumerate(layers)}
    if path.suffix == ".pt":
        torch.save({n: torch.from_numpy(a) for n, a in named.items()} | ({"ids": ids} if ids else {}), path)
    elif path.suffix == ".npz":
        np.savez(path, **named, **({"sample_ids": np.array(ids)} if ids else {}))
    elif path.suffix == ".safetensors":
        save_file(named, path)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, layer in named.items():
                file[name] = layer
            if ids:
                file["sample_ids"] = ids
    else:
        pd.DataFrame({"sample_ids": ids or range(N)} | {n: list(a) for n, a in named.items()}).to_parquet(path)
    return path


@pytest.mark.parametrize("name", ["f.pt", "f.npz", "f.h5", "f.parquet"])
def test_files_with_ids_come_in_and_in_another_order_only_when_asked_to(name, samples, tmp_path):
    order = np.random.default_rng(1).permutation(N)
    shuffled = save(tmp_path / name, [a[order] for a in features(1)], [samples.ids[i] for i in order])
    with pytest.raises(ShareError, match=r"another order than the samples .* --reorder") as error:
        import_results(shuffled, target(tmp_path, samples), quiet, model_id="lab", stated=FOREIGN, force=True)
    assert name in str(error.value)
    again = stored_again(shuffled, samples, tmp_path, model_id="lab", stated=FOREIGN, reorder=True)
    assert same(again.layers(), features(1))


def test_a_feature_store_comes_in(samples, tmp_path):
    store(tmp_path / "theirs.zarr", samples, 1)
    assert same(stored_again(tmp_path / "theirs.zarr", samples, tmp_path).layers(), features(1))


@pytest.mark.parametrize("name", ["f.pt", "f.npz", "f.safetensors", "f.h5"])
def test_rows_without_ids_are_held_against_what_is_stored(name, samples, tmp_path):
    stored = [index(samples, 2), index(samples, 3)]
    paired = save(tmp_path / name, features(1), None)
    again = stored_again(paired, samples, tmp_path, stored=stored, model_id="lab", stated=FOREIGN)
    assert same(again.layers(), features(1))


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_rows_without_ids_are_refused_unless_forced(seed, samples, tmp_path):
    order = np.random.default_rng(seed).permutation(N)
    shuffled = save(tmp_path / "f.npz", [a[order] for a in features(1)], None)
    into = target(tmp_path, samples, [index(samples, 2), index(samples, 3)])
    with pytest.raises(ShareError, match=r"f\.npz: has no sample ids, .* better than shuffled rows") as error:
        import_results(shuffled, into, quiet, model_id="lab", stated=FOREIGN)
    assert "--force" in str(error.value)
    assert not (tmp_path / "zoo").exists()
    told = []
    import_results(shuffled, into, told.append, model_id="lab", stated=FOREIGN, force=True)
    assert "taken without sample ids although" in told[0]


def test_rows_without_ids_and_nothing_to_hold_them_against_are_refused(samples, tmp_path):
    with pytest.raises(ShareError, match="no model of the dataset is stored"):
        import_results(
            save(tmp_path / "f.npz", features(1), None),
            target(tmp_path, samples),
            quiet,
            model_id="a",
            stated=FOREIGN,
        )


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


BROKEN = {
    "other samples": (lambda f, ids: save(f / "f.npz", features(1), ["x", *ids[1:]]), "are not the 64 samples"),
    "too few": (lambda f, ids: save(f / "f.npz", [a[:9] for a in features(1)], None), "has 9 rows"),
    "ids of others": (lambda f, ids: save(f / "f.npz", features(1), ids[:9]), "and 9 ids"),
    "nan": (lambda f, ids: save(f / "f.npz", [a * np.float16(np.nan) for a in features(1)], ids), "NaN or infinite"),
    "ragged": (lambda f, ids: save(f / "f.npz", [features(1)[0], features(1)[1][:5]], None), "equally long"),
    "text": (lambda f, ids: (f / "f.npz").write_text("hello"), "cannot read"),
    "parquet": (lambda f, ids: (f / "f.parquet").write_text("hello"), "no Parquet file"),
    "suffix": (lambda f, ids: (f / "f.docx").write_text("hello"), "features are read from"),
    "folder": (lambda f, ids: (f / "f.folder").mkdir(), "neither a feature store"),
    "nothing": (lambda f, ids: None, "no such file or folder"),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_used_is_one_message_with_the_files_name(name, samples, tmp_path):
    make, match = BROKEN[name]
    make(tmp_path, samples.ids)
    path = next(tmp_path.glob("f.*"), tmp_path / "f.npz")
    with pytest.raises(ShareError, match=match) as error:
        import_results(path, target(tmp_path, samples), quiet, model_id="lab", stated=FOREIGN)
    assert str(path) in str(error.value)
    assert not (tmp_path / "zoo").exists()


def test_a_pickle_that_would_run_code_runs_none(samples, tmp_path):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"layer_0": Evil()}, tmp_path / "f.pt")
    with pytest.raises(ShareError, match=r"f\.pt"):
        read_features(tmp_path / "f.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_export_is_refused(form, samples, tmp_path):
    path = tmp_path / ("features.parquet" if form == "parquet" else "features")
    export_features(store(tmp_path / "s.zarr", samples, 1), model(), path, form)
    largest = max([path, *path.rglob("*")], key=lambda f: f.stat().st_size if f.is_file() else 0)
    cut(largest)
    with pytest.raises(ShareError, match="features"):
        import_results(path, target(tmp_path, samples), quiet)


def test_an_export_of_another_dataset_is_refused(samples, tmp_path):
    export_features(store(tmp_path / "s.zarr", samples, 1), model(), tmp_path / "f.parquet", "parquet")
    other = dataset(tmp_path, n=32)
    with pytest.raises(ShareError, match="made on dataset 'shapes' of content"):
        import_results(tmp_path / "f.parquet", target(tmp_path, other), quiet)


def test_a_foreign_model_needs_a_name_and_what_tells_it_apart(samples, tmp_path):
    path = save(tmp_path / "f.npz", features(1), samples.ids)
    with pytest.raises(ConfigError, match="give --id, --modality, --family, --objective, --licence"):
        import_results(path, target(tmp_path, samples), quiet)
    with pytest.raises(ZooalignError, match="objective"):
        import_results(path, target(tmp_path, samples), quiet, model_id="a", stated={**FOREIGN, "objective": "magic"})


def test_wide_numbers_become_float32_and_layers_stay_in_order(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for i in range(12):
            file[f"layer_{i}"] = np.full((4, 2), float(i))
    found = read_features(tmp_path / "f.h5")
    assert list(found.layers) == [f"layer_{i}" for i in range(12)]
    assert {a.dtype for a in found.layers.values()} == {np.dtype("float32")}
