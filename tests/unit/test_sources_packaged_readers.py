"""Readers of packaged-more on files that are made here: what they give, and what damaged ones say."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from zooalign.errors import WeightsError
from zooalign.sources import static_table
from zooalign.sources._packages import PackagedFile, whole_file
from zooalign.sources._vision import create
from zooalign.sources.packaged import (
    _ctranslate2,
    _keras,
    _sentencepiece,
    keras_hdf5,
    onnx_bert,
    use_convolutional,
    whisper_decoder,
    zipped_folder,
)


def text_record(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def model_bin(variables: dict[str, np.ndarray], spec: str = "WhisperSpec", version: int = 6) -> bytes:
    """A model.bin with these variables and an alias of the first one."""
    codes = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    data = struct.pack("<I", version) + text_record(spec) + struct.pack("<II", 3, len(variables))
    for name, array in variables.items():
        data += text_record(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += struct.pack("<BI", codes[array.dtype.name], array.nbytes) + array.tobytes()
    return data + struct.pack("<I", 1) + text_record("again") + text_record(next(iter(variables)))


VARIABLES = {"a/weight": np.arange(6, dtype=np.float16).reshape(2, 3), "a/heads": np.array(6, np.int16)}


def test_variables_of_ctranslate2_are_read(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(model_bin(VARIABLES))
    found = _ctranslate2.read_variables(tmp_path / "model.bin", "WhisperSpec")
    assert found.keys() == VARIABLES.keys()
    for name, array in VARIABLES.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


DAMAGED = {
    "cut off": (model_bin(VARIABLES)[:-30], "WhisperSpec"),
    "cut in an array": (model_bin(VARIABLES)[:55], r"shape \(2, 3\) has"),
    "longer": (model_bin(VARIABLES) + b"more", "4 bytes follow"),
    "another version": (model_bin(VARIABLES, version=5), "version 5 of 'WhisperSpec'"),
    "another model": (model_bin(VARIABLES, spec="TransformerSpec"), "version 6 of 'TransformerSpec'"),
    "an unknown type": (model_bin(VARIABLES).replace(b"\x04\x0c\0\0\0", b"\x09\x0c\0\0\0"), "unknown type 9"),
    "a huge shape": (
        model_bin(VARIABLES).replace(struct.pack("<II", 2, 3), b"\xff" * 8, 1),
        "4294967295.* has 12 bytes",
    ),
    "no text": (model_bin(VARIABLES).replace(b"a/weight", b"a/w\xff\xff\xfft", 1), "WhisperSpec"),
    "nothing": (b"", "WhisperSpec"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files_of_ctranslate2_are_named_with_the_remedy(damage: str, tmp_path: Path) -> None:
    data, reason = DAMAGED[damage]
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(WeightsError, match=rf"model\.bin is no whole .*{reason}.*Install its package again"):
        _ctranslate2.read_variables(tmp_path / "model.bin", "WhisperSpec")


def test_whispers_that_are_quantised_or_incomplete_are_refused(tmp_path: Path) -> None:
    options = whisper_decoder.Options.model_construct()
    (tmp_path / "model.bin").write_bytes(model_bin(VARIABLES))
    with pytest.raises(WeightsError, match=r"model\.bin has no variable 'decoder/embeddings/weight'"):
        whisper_decoder.prepare(options, tmp_path / "model.bin", tmp_path)
    variables = {f"encoder/conv1/{part}": np.zeros((2, 2, 3), np.int8) for part in ("weight", "bias")}
    with pytest.raises(WeightsError, match=r"are integers: take the model as float16"):
        _ctranslate2.whisper_state(variables, None)


def test_files_cut_into_parts_are_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, piece in enumerate((b"one", b"two", b"three")):
        (tmp_path / f"part{i}").write_bytes(piece)
    parts = [PackagedFile(package=f"p{i}==1", file=f"part{i}") for i in range(3)]
    monkeypatch.setattr(PackagedFile, "path", lambda part: tmp_path / part.file)
    assert whole_file(parts[:1], tmp_path / "whole") == tmp_path / "part0"
    assert not (tmp_path / "whole").exists()
    assert whole_file(parts, tmp_path / "whole").read_bytes() == b"onetwothree"


def test_text_is_split_as_word_vectors_are_counted() -> None:
    words = ["do", "n't", "stop", ",", "john", "'s", "o'clock", "10-year-old", "u.s.", "(", ")", "3.5", "é"]
    tokenizer = static_table.word_tokenizer(words)
    encoded = tokenizer.encode("Don't STOP, John\u2019s o'clock  10-year-old U.S. (É) 3.5 nothing\n")
    assert encoded.tokens == [*words[:10], "é", ")", "3.5", "[UNK]"]
    assert encoded.ids[-1] == len(words)


def test_a_table_of_words_is_read_and_the_unknown_is_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.save(tmp_path / "table.npy", table)
    pq.write_table(pa.table({"index": ["a", "b", "c"]}), tmp_path / "words.parquet")
    monkeypatch.setattr(PackagedFile, "path", lambda part: tmp_path / part.file)
    files = {
        key: {"package": "p==1", "file": name} for key, name in (("weights", "table.npy"), ("words", "words.parquet"))
    }
    options = static_table.Options.model_validate(files)
    static_table.prepare(options, tmp_path / "table.npy", tmp_path)
    model = static_table.load(options, tmp_path / "table.npy", tmp_path)
    (states,) = model.layers(torch.tensor(model.tokenize(["C d"])), torch.ones(1, 2, dtype=torch.bool))
    np.testing.assert_allclose(states[0].numpy(), [table[2], table.mean(0)], atol=1e-6)
    with pytest.raises(ValueError, match="exactly one of `tokenizer` and `words`"):
        static_table.Options.model_validate({"weights": files["weights"]})


def test_damaged_tables_and_lists_of_words_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    np.save(file, np.zeros((40, 5), np.float32))
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(WeightsError, match=r"x\.npy is no whole array .* Install its package again"):
        static_table.read_table(file, "")
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(WeightsError, match=r"x\.npy is no whole array of numbers: .*pickle"):
        static_table.read_table(file, "")
    np.save(file, np.zeros(4))
    with pytest.raises(WeightsError, match=r"x\.npy has shape \(4,\) of float64, not rows"):
        static_table.read_table(file, "")
    words = tmp_path / "w.parquet"
    words.write_bytes(b"PAR1")
    with pytest.raises(WeightsError, match=r"w\.parquet is no Parquet file .* Install its package again"):
        static_table.read_words(words)
    for column in (["a", "a"], ["a", None], [1, 2]):
        pq.write_table(pa.table({"index": column}), words)
        with pytest.raises(WeightsError, match=r"w\.parquet is no list of words"):
            static_table.read_words(words)


def test_damaged_archives_of_the_sentence_encoder_are_named(tmp_path: Path) -> None:
    file = tmp_path / "w.npz"
    np.savez(file, scale=np.ones(1, np.float32))
    with pytest.raises(WeightsError, match=r"w\.npz holds no weights of this encoder .*'q1'.* Install its package"):
        use_convolutional.read_archive(file)
    file.write_bytes(file.read_bytes()[:90])
    with pytest.raises(WeightsError, match=r"w\.npz holds no weights of this encoder"):
        use_convolutional.read_archive(file)
    file.write_bytes(b"not an archive")
    with pytest.raises(WeightsError, match=r"w\.npz holds no weights of this encoder"):
        use_convolutional.read_archive(file)


def test_damaged_sentencepiece_models_are_named(tmp_path: Path) -> None:
    file = tmp_path / "sp.model"
    file.write_bytes(b"\x0a\xff\xff")
    with pytest.raises(WeightsError, match=r"sp\.model is no SentencePiece model: .* Install its package again"):
        _sentencepiece.unigram_tokenizer(file)
    file.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"sp\.model starts with other pieces than <unk>, <s>, </s>: \[\]"):
        _sentencepiece.unigram_tokenizer(file)


def write_archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("m/model.safetensors", np.random.default_rng(0).bytes(3000))
        for name in (
            "m/config.json",
            "m/vocab.txt",
            "m/run.py",
            "m/../../up.json",
            "m/1_Pooling/config.json",
            "n.json",
        ):
            packed.writestr(name, name)


def test_only_the_files_of_the_model_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "whole.zip")
    data, folder = (tmp_path / "whole.zip").read_bytes(), tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for i in range(3):
        (tmp_path / f"part{i}").write_bytes(data[i * 1500 : (i + 1) * 1500 if i < 2 else None])
    monkeypatch.setattr(PackagedFile, "path", lambda part: tmp_path / part.file)
    parts = [{"package": "p==1", "file": f"part{i}"} for i in range(3)]
    options = zipped_folder.Options.model_validate({"weights": parts, "inside": "m/"})
    assert zipped_folder.weight_file(options, folder) == folder / "model.safetensors"
    assert sorted(f.name for f in folder.iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]
    assert (folder / "config.json").read_text() == "m/config.json"
    assert not list(tmp_path.rglob("up.json"))
    assert zipped_folder.weight_file(options, folder) == folder / "model.safetensors"


def test_damaged_archives_are_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    write_archive(file)
    with pytest.raises(WeightsError, match=r"x\.zip has no other/model\.safetensors: correct `inside`"):
        zipped_folder.unpack(file, "other/", tmp_path)
    whole = file.read_bytes()
    # cut off, other bytes in the data, no deflated data, nothing
    for damaged in (
        whole[:1500],
        whole[:1000] + bytes(500) + whole[1500:],
        whole[:49] + b"\xff" * 9 + whole[58:],
        b"",
    ):
        file.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"x\.zip is no whole zip archive: .* Install its packages again"):
            zipped_folder.unpack(file, "m/", tmp_path)


def test_bert_is_lifted_out_of_a_graph(tmp_path: Path) -> None:
    """Weights of matrix products have no name in such a graph: they are found by the bias behind them."""
    import onnx
    from onnx import helper, numpy_helper

    weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
    tables = {f"m.embeddings.{k}_embeddings.weight": np.zeros((4, 2), np.float32)
              for k in ("word", "position", "token_type")}  # fmt: skip
    parameters = {"onnx::MatMul_1": weight, "m.encoder.layer.0.intermediate.dense.bias": bias, **tables}
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_1"], ["y"]),
        helper.make_node("Add", ["m.encoder.layer.0.intermediate.dense.bias", "y"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(array, name) for name, array in parameters.items()],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    state = onnx_bert.lift(tmp_path / "m.onnx", "m.")
    np.testing.assert_array_equal(state["encoder.layer.0.intermediate.dense.weight"].numpy(), weight.T)
    with pytest.raises(WeightsError, match=r"m\.onnx has no parameter 'x\.embeddings\.word_embeddings\.weight'"):
        onnx_bert.lift(tmp_path / "m.onnx", "x.")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"cut\.onnx is no ONNX file .* Install its package again"):
        onnx_bert.lift(tmp_path / "cut.onnx", "m.")


def write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    with h5py.File(file, "w") as opened:
        for name, array in arrays.items():
            opened[name] = array


def test_h5_and_keras_archives_give_the_same_arrays(tmp_path: Path) -> None:
    arrays = {"a/vars/0": np.arange(6.0, dtype=np.float32).reshape(2, 3), "a/vars/1": np.ones(2, np.float32)}
    plain, archive = tmp_path / "x.weights.h5", tmp_path / "x.keras"
    write_arrays(plain, arrays)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(plain, "model.weights.h5")
        packed.writestr("config.json", "not read")
    for file in (plain, archive):
        found = keras_hdf5.read_arrays(file)
        assert found.keys() == arrays.keys()
        np.testing.assert_array_equal(found["a/vars/0"], arrays["a/vars/0"])


@pytest.mark.parametrize("name", ["cut.weights.h5", "cut.keras", "other.keras", "text.weights.h5"])
def test_damaged_keras_files_are_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    write_arrays(whole, {"a": np.zeros(1000, np.float32)})
    if name == "other.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            packed.writestr("config.json", "{}")
    elif name == "cut.keras":
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            packed.writestr("model.weights.h5", whole.read_bytes()[:3000])
    else:
        (tmp_path / name).write_bytes(b"weights" if "text" in name else whole.read_bytes()[:3000])
    with pytest.raises(WeightsError, match=rf"{name} holds no Keras weights .* Install its package again"):
        keras_hdf5.read_arrays(tmp_path / name)


def test_layers_of_keras_are_taken_by_number() -> None:
    names = ["conv2d", "conv2d_10", "conv2d_2", "separable_conv2d_1", "conv2d_transpose"]
    tensors = {f"base/{name}/vars/0": np.zeros(1) for name in names}
    assert _keras._layers(tensors, "base/", "conv2d") == ["base/conv2d", "base/conv2d_2", "base/conv2d_10"]


@pytest.mark.parametrize(
    ("convert", "architecture", "message"),
    [
        (_keras.vgg16, "vgg16", "the weights have 1 convolutions, VGG16 has 13"),
        (_keras.xception, "legacy_xception", "the weights are no Xception: 0 conv2d for 6"),
    ],
)
def test_weights_of_another_network_are_refused(convert: Any, architecture: str, message: str) -> None:
    with torch.device("meta"):
        module = create(architecture, {"num_classes": 0})
    if architecture == "vgg16":
        module = torch.nn.Sequential(*list(module.features))  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match=message):
        convert({"block1/layers/conv2d/vars/0": np.zeros((3, 3, 3, 64))}, module)
