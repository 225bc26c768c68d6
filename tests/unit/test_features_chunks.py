"""Chunks: a store written one chunk at a time is what zarr writes and reads."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from zooalign.features import chunks
from zooalign.features.chunks import make_grid, write_features
from zooalign.features.store import FeatureStore


@given(
    st.integers(1, 5), st.integers(1, 40), st.integers(1, 12), st.integers(1, 400), st.integers(1, 4000),
    st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_streamed_stores_are_what_zarr_reads(tmp_path_factory, layers, samples, width, chunk, file, seed):
    """Any shape and any cut; layers of zeros and narrow layers among them."""
    folder = tmp_path_factory.mktemp("streamed") / "m.zarr"
    rng = np.random.default_rng(seed)
    widths = [int(w) for w in rng.integers(1, width + 1, layers)]
    values = [rng.standard_normal((samples, w)).astype(np.float16) * rng.integers(0, 2) for w in widths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "MAX_CHUNK_BYTES", chunk)
        patch.setattr(chunks, "MAX_SHARD_BYTES", file)
        grid = make_grid(layers, samples, max(widths), 2)
        written = write_features(
            folder, (layers, samples, max(widths)), "float16", lambda i, a, b: values[i][a:b],
            {"layer_names": list(map(str, range(layers))), "widths": widths, "digest": "d", "dtype": "float16",
             "sample_ids": list(map(str, range(samples)))},
        )  # fmt: skip
    assert written == len(grid.chunks())
    array = zarr.open_group(folder, mode="r")["features"]
    for i, layer in enumerate(values):
        np.testing.assert_array_equal(array[i, :, : widths[i]], layer)
        assert not array[i, :, widths[i] :].any()
    store = FeatureStore.open(folder)
    np.testing.assert_array_equal(store.rows(-1, samples // 2, samples), values[-1][samples // 2 :])


def test_streamed_store_has_the_header_and_size_of_one_that_zarr_wrote(tmp_path, monkeypatch):
    from zarr.codecs import Crc32cCodec, ZstdCodec

    monkeypatch.setattr(chunks, "MAX_CHUNK_BYTES", 500)
    values = np.random.default_rng(0).standard_normal((3, 37, 20)).astype(np.float16)
    write_features(tmp_path / "ours", values.shape, values.dtype, lambda i, a, b: values[i, a:b], {})
    array = zarr.open_group(tmp_path / "theirs", mode="w-").create_array(
        "features", shape=values.shape, chunks=(1, 12, 20), shards=(3, 48, 20), dtype=values.dtype,
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
    )  # fmt: skip
    array[:] = values
    header = [(tmp_path / name / "features/zarr.json").read_text() for name in ("ours", "theirs")]
    assert header[0] == header[1]
    size = [(tmp_path / name / "features/c/0/0/0").stat().st_size for name in ("ours", "theirs")]
    assert size[0] == size[1]


def test_writing_takes_the_memory_of_a_chunk_not_of_the_store(tmp_path):
    """256 MiB of features in chunks of 4 MiB, in a process of its own."""
    script = """
        import resource, sys
        import numpy as np
        from pathlib import Path
        from zooalign.features import chunks
        chunks.MAX_CHUNK_BYTES = 4 * 2**20
        rng = np.random.default_rng(0)
        tile = rng.integers(0, 2**14, (2**14, 128), np.uint16).view(np.float16)
        def block(i, a, b):
            return np.roll(tile[: b - a], a, axis=1)
        def write(layers, name):
            chunks.write_features(Path(sys.argv[1]) / name, (layers, 2**18, 128), "float16", block, {})
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        small = write(1, "warm")
        print(write(4, "m.zarr") - small)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 48
