"""Files that are not what they seem: one message that names the file and the remedy, and nothing outside is read."""

import io
import json
import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from zooalign import score
from zooalign.alignment.files import read_arrays
from zooalign.config.identity import local_files, weights_digest
from zooalign.config.manifest import DatasetSpec, ModelSpec
from zooalign.data.build import build_dataset
from zooalign.data.decoding import decode
from zooalign.errors import DatasetError, FeatureError, StoreError, WeightsError, ZooalignError
from zooalign.models.loading import fetch_weights, fetched, load_model
from zooalign.provenance import file_sha256
from zooalign.sources._torchvision import import_timm
from zooalign.sources.torch_checkpoint import read_checkpoint
from zooalign.storage.fingerprints import content_digest


def quiet(line):
    """Swallow a line of progress."""


# --- checkpoints ---------------------------------------------------------------------------------------------------


def header(length, text=b"{}"):
    return struct.pack("<Q", length) + text


BROKEN = {
    "huge header.safetensors": header(2**62),
    "lying offsets.safetensors": header(67, b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,999999999999]}}  '),
    "empty.safetensors": b"",
    "text.safetensors": b"hello" * 10,
    "empty.pth": b"",
    "text.pth": b"hello" * 100,
    "zip.pth": b"PK\x03\x04" + bytes(100),
    "pickle.pth": pickle.dumps({"a": print}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_one_message_with_the_safe_way(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(WeightsError) as error:
        read_checkpoint(tmp_path / name)
    said = str(error.value)
    assert name in said
    assert "weights_only" not in said
    assert "Fetch it again, or save its state_dict alone" in said


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_checkpoint_that_was_cut_off_is_named(tmp_path, part, suffix):
    file = tmp_path / f"w.{suffix}"
    state = {"a": torch.ones(1000), "b": torch.zeros(3, 3)}
    torch.save(state, file) if suffix == "pth" else save_file(state, file)
    whole = file.read_bytes()
    assert read_checkpoint(file).keys() == state.keys()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(WeightsError, match=file.name):
        read_checkpoint(file)


def test_a_checkpoint_of_one_tensor_is_no_table(tmp_path):
    torch.save(torch.ones(3), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds a Tensor, not a table of tensors"):
        read_checkpoint(tmp_path / "w.pt")


# --- models of the user's ------------------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    """A timm model in a folder of the user's."""
    folder = tmp_path / "mine"
    folder.mkdir()
    module = import_timm().create_model("resnet10t", num_classes=3)
    save_file(module.state_dict(), folder / "model.safetensors")
    mean = [0.5, 0.5, 0.5]
    pretrained = {"input_size": [3, 64, 64], "interpolation": "bicubic", "crop_pct": 1.0, "mean": mean, "std": mean}
    config = {"architecture": "resnet10t", "num_classes": 3, "pretrained_cfg": {**pretrained, "num_classes": 3}}
    (folder / "config.json").write_text(json.dumps(config))
    row = {
        "id": "mine", "modality": "vision", "source": "timm", "options": {"path": str(folder)}, "pooling": "mean",
        "weights_sha256": file_sha256(folder / "model.safetensors"), "objective": "supervised", "family": "resnet",
        "licence": "mine", "homepage": "https://example.org", "title": "mine", "parameters": 5_000_000,
        "weights_mb": 20,
    }  # fmt: skip
    known = ModelSpec.model_fields
    return ModelSpec.model_validate({k: v for k, v in row.items() if k in known}), folder


def test_every_file_of_a_local_model_is_part_of_its_digest_and_checked_at_load(mine, tmp_path):
    spec, folder = mine
    weights = tmp_path / "weights"
    record = fetch_weights(spec, weights, quiet)
    assert [file.name for file in local_files(spec)] == ["config.json", "model.safetensors"]
    assert sorted(record["read"]) == [str(folder / name) for name in ("config.json", "model.safetensors")]
    load_model(spec, weights)
    for name in ("config.json", "model.safetensors"):
        before, whole = weights_digest(spec), (folder / name).read_bytes()
        assert fetched(spec, weights)
        changed = bytearray(whole)
        changed[-3] ^= 1
        (folder / name).write_bytes(changed)
        assert weights_digest(spec) != before
        assert fetched(spec, weights) is None
        with pytest.raises(WeightsError, match=f"model 'mine': .*{name}.* should have SHA-256") as error:
            load_model(spec, weights)
        assert error.value.record == weights / "weights.json"
        (folder / name).write_bytes(whole)
        assert weights_digest(spec) == before


def test_what_a_library_raises_names_the_row_and_the_file(mine, tmp_path):
    spec, folder = mine
    (folder / "config.json").write_text('{"architecture": "resnet10t", "pretrained_cfg": [3]}')
    fetch_weights(spec, tmp_path / "weights", quiet)
    with pytest.raises(WeightsError, match=r"model 'mine': 'model.safetensors' cannot be read by source 'timm'"):
        load_model(spec, tmp_path / "weights")


def test_files_are_read_again_only_when_a_size_or_time_changed(tmp_path, monkeypatch):
    import os

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("zooalign.storage.fingerprints._SETTLED_S", -1.0)
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)
    known = content_digest([*files, files[0]])
    assert content_digest(files) == known
    assert content_digest(files[::-1]) != known
    monkeypatch.setattr("zooalign.storage.fingerprints.hashlib.file_digest", None)  # nothing is read
    assert content_digest(files) == known
    monkeypatch.undo()
    os.utime(files[0])  # touched: read again, the same content
    assert content_digest(files) == known
    files[0].write_text("c")
    assert content_digest(files) != known
    with pytest.raises(FileNotFoundError):
        content_digest([tmp_path / "c"])


# --- pictures ------------------------------------------------------------------------------------------------------


def encoded(values, kind):
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    seen = np.asarray(decode(encoded(ramp, kind)))
    assert seen.shape == (8, 8, 3)
    assert np.array_equal(seen[..., 0], np.round(ramp / 257).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_stated_range_are_refused(dtype):
    with pytest.raises(ValueError, match="no stated range; save it with 8 or 16 bits"):
        decode(encoded(np.full((4, 4), 3, dtype), "TIFF"))


def test_a_picture_as_thin_as_a_thread_is_refused_when_the_dataset_is_built(tmp_path):
    (tmp_path / "thin.png").write_bytes(encoded(np.zeros((1, 6500), np.uint8), "PNG"))
    (tmp_path / "t.csv").write_text("image,caption\nthin.png,a line\n")
    spec = DatasetSpec(id="thin", family="folder", options={"table": str(tmp_path / "t.csv")})
    with pytest.raises(DatasetError, match=r"6500 x 1 px.*crop it to at most 100 : 1"):
        build_dataset(spec, tmp_path / "thin", quiet)


# --- datasets of other tools ---------------------------------------------------------------------------------------


def saved(folder, **columns):
    import datasets

    datasets.Dataset.from_dict(columns).save_to_disk(str(folder))
    return {"path": str(folder)}


@pytest.mark.parametrize("path", ["{outside}/secret.png", "../secret.png", "link/secret.png"])
def test_a_picture_outside_a_saved_dataset_is_never_read(tmp_path, path):
    import datasets

    (tmp_path / "secret.png").write_bytes(encoded(np.zeros((8, 8), np.uint8), "PNG"))
    # As a struct: `datasets` itself would copy the content of a picture's path when it saves.
    struct = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    features = datasets.Features({"image": struct, "text": datasets.Value("string")})
    rows = {"image": [{"path": path.format(outside=tmp_path), "bytes": None}] * 2, "text": ["a", "b"]}
    datasets.Dataset.from_dict(rows, features).save_to_disk(str(tmp_path / "data"))
    (tmp_path / "data/link").symlink_to(tmp_path)
    spec = DatasetSpec(id="mine", family="hub", options={"path": str(tmp_path / "data")})
    with pytest.raises(DatasetError, match=r"row 0.*lies outside"):
        build_dataset(spec, tmp_path / "mine", quiet)


def test_a_null_id_and_a_caption_that_is_no_text_are_named(tmp_path):
    pictures = [{"path": None, "bytes": encoded(np.zeros((8, 8), np.uint8), "PNG")}] * 2
    options = saved(tmp_path / "data", image=pictures, text=[7, 8], name=["a", None])
    spec = DatasetSpec(id="mine", family="hub", options=options)
    with pytest.raises(DatasetError, match="column 'text' holds int"):
        build_dataset(spec, tmp_path / "mine", quiet)
    spec = DatasetSpec(id="mine", family="hub", options={**options, "id": "name", "caption": "name"})
    with pytest.raises(DatasetError, match="row 1: no id in column 'name'"):
        build_dataset(spec, tmp_path / "mine", quiet)


def test_a_saved_dictionary_of_splits_is_read(tmp_path):
    import datasets

    pictures = [{"path": None, "bytes": encoded(np.full((8, 8), i, np.uint8), "PNG")} for i in range(3)]
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    part = datasets.Dataset.from_dict({"image": pictures, "text": ["a", "b", "c"]}, features)
    datasets.DatasetDict({"test": part}).save_to_disk(str(tmp_path / "data"))
    options = {"path": str(tmp_path / "data"), "split": "test"}
    assert len(build_dataset(DatasetSpec(id="mine", family="hub", options=options), tmp_path / "mine", quiet)) == 3
    options["split"] = "train"
    with pytest.raises(DatasetError, match="no split 'train', only test"):
        build_dataset(DatasetSpec(id="other", family="hub", options=options), tmp_path / "other", quiet)


# --- features of other tools ---------------------------------------------------------------------------------------


def written(folder, suffix, x):
    """The same features as another tool writes them."""
    import h5py
    import pandas as pd
    from scipy.io import savemat

    file = folder / f"x{suffix}"
    write = {
        ".npy": lambda: np.save(file, x),
        ".npz": lambda: np.savez(file, features=x),
        ".pt": lambda: torch.save({"feats": torch.tensor(x), "num_params": 3, "bpb": 1.5}, file),
        ".pth": lambda: torch.save([torch.tensor(x)], file),
        ".safetensors": lambda: save_file({"x": torch.tensor(x)}, file),
        ".hdf5": lambda: h5py.File(file, "w").create_dataset("features", data=x).file.close(),
        ".mat": lambda: savemat(file, {"features": x}),
        ".txt": lambda: np.savetxt(file, x),
        ".csv": lambda: np.savetxt(file, x, delimiter=","),
        ".parquet": lambda: pd.DataFrame(x, columns=[f"d{i}" for i in range(x.shape[1])]).to_parquet(file),
    }
    write[suffix]()
    return file


SUFFIXES = [".npy", ".npz", ".pt", ".pth", ".safetensors", ".hdf5", ".mat", ".txt", ".csv", ".parquet"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_features_that_other_tools_write_are_read(tmp_path, suffix):
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    file = written(tmp_path, suffix, x)
    assert score(file, x).scores["mutual_knn@10"][0, 0] == 1.0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_was_cut_off_is_named(tmp_path, suffix):
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    file = written(tmp_path, suffix, x)
    file.write_bytes(file.read_bytes()[:53])
    with pytest.raises(ZooalignError, match=rf"x\{suffix}"):
        score(file, x)


def test_ids_of_a_file_are_compared(tmp_path):
    import pandas as pd

    x = np.random.default_rng(0).standard_normal((40, 6))
    frame = pd.DataFrame(x, columns=list("abcdef"))
    for name, ids in (("x", range(40)), ("y", reversed(range(40)))):
        frame.assign(id=[f"s{i}" for i in ids]).to_parquet(tmp_path / f"{name}.parquet")
    assert read_arrays(tmp_path / "x.parquet")[1] == [f"s{i}" for i in range(40)]
    with pytest.raises(Exception, match="s0"):
        score(tmp_path / "x.parquet", tmp_path / "y.parquet")


def test_bfloat16_and_lists_of_layers(tmp_path):
    x = torch.randn(30, 3, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    torch.save({"feats": x}, tmp_path / "x.pt")
    torch.save({"feats": [x[:, i] for i in range(3)]}, tmp_path / "y.pt")
    assert score(tmp_path / "x.pt", tmp_path / "y.pt", "cka").scores["cka"].diagonal() == pytest.approx(1.0)


def test_a_pickle_among_features_is_refused(tmp_path):
    torch.save({"feats": print}, tmp_path / "x.pt")
    with pytest.raises(StoreError, match="could run code: nothing of it is read"):
        score(tmp_path / "x.pt", tmp_path / "x.pt")


def test_layers_first_is_noticed():
    with pytest.raises(FeatureError, match=r"6 samples and 100 layers. If layers come first, swap"):
        score(np.zeros((6, 100, 8)), np.zeros((6, 100, 8)))


def test_shuffled_rows_are_noticed():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 8))
    assert not score(x, x + 0.1).warnings
    [said] = score(x, x[rng.permutation(200)]).warnings
    assert "rows look shuffled" in said
