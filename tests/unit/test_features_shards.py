"""Shards: together bit for bit the store of a single job."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooalign.config.manifest import DatasetSpec
from zooalign.config.schema import ExtractionConfig
from zooalign.errors import FeatureError
from zooalign.features.extract import batch_bounds, extract_features
from zooalign.features.merge import merge_shards
from zooalign.features.shards import Shard, _runs, find_shards, positions
from zooalign.features.store import FeatureStore


def quiet(message):
    del message


@given(st.lists(st.integers(1, 40), min_size=1, max_size=120), st.integers(1, 9), st.randoms())
def test_shards_hold_every_sample_once_in_whole_batches(costs, of, random):
    costs = sorted(costs, reverse=True)
    order = list(range(len(costs)))
    random.shuffle(order)
    plan = {
        "sample_ids": [f"s{i}" for i in order],
        "order": order,
        "bounds": batch_bounds(costs, 120, 8),
        "layer_names": ["a"],
        "widths": [3],
        "dtype": "float16",
    }
    if len(plan["bounds"]) < of:
        with pytest.raises(FeatureError, match=rf"shard 1 of {of}: the dataset makes {len(plan['bounds'])} batches"):
            Shard(1, of).cut(plan, costs, "whole")
        return
    parts = [Shard(i, of).cut(plan, costs, "whole") for i in range(1, of + 1)]
    assert [p for part in parts for p in part["reads"]] == order
    batches = [0, *plan["bounds"]]
    sizes = [b - a for part in parts for a, b in zip([0, *part["bounds"]], part["bounds"], strict=False)]
    assert sizes == [b - a for a, b in pairwise(batches)]
    for part in parts:
        places = positions(part["shard"]["runs"])
        assert part["sample_ids"] == [plan["sample_ids"][p] for p in places]
        assert [places[i] for i in part["order"]] == part["reads"]


def test_shards_are_of_about_equal_cost():
    costs = sorted(np.random.default_rng(0).integers(1, 200, 5000).tolist(), reverse=True)
    plan = {"sample_ids": list(map(str, range(5000))), "order": list(range(5000))}
    plan["bounds"] = batch_bounds(costs, 2000, 64)
    work = []
    for i in range(1, 9):
        reads = Shard(i, 8).cut(plan, costs, "w")["reads"]
        work.append(sum(costs[p] for p in reads))
    assert max(work) < 1.1 * np.mean(work)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_runs_are_the_positions(places):
    assert positions(_runs(sorted(places))).tolist() == sorted(places)


def test_a_shard_is_never_taken_for_the_whole_or_another():
    digests = {"whole", *(Shard(i, n).digest("whole") for n in (1, 2, 3) for i in range(1, n + 1))}
    assert len(digests) == 7
    assert Shard(2, 16).path(Path("f/m.zarr")) == Path("f/m.zarr.shards/02-of-16.zarr")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    from zooalign.data.build import build_dataset

    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    build_dataset(DatasetSpec(id="shapes", family="synthetic"), folder, quiet)
    return folder


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("model", ["minilm_l6", "efficientnet_lite0", "textgenrnn"])
def test_shards_are_bit_for_bit_the_single_job(zoo, fetched, shapes, tmp_path, model, dtype):
    spec = zoo[model].model_copy(update={"storage_dtype": dtype})
    reading = ExtractionConfig(workers=0, max_batch=8)
    whole = tmp_path / "whole.zarr"

    def extract(path, shard=None):
        path.parent.mkdir(exist_ok=True)
        extract_features(spec, fetched(model), shapes, path, reading, quiet, shard=shard)

    extract(whole)
    for i in (3, 1, 2):
        extract(Shard(i, 3).path(tmp_path / "joined.zarr"), Shard(i, 3))
    assert merge_shards(find_shards(tmp_path / "joined.zarr"), tmp_path / "joined.zarr", quiet) > 0
    one, other = FeatureStore.open(whole), FeatureStore.open(tmp_path / "joined.zarr")
    for i in range(len(one.widths)):
        assert one.layer(i).tobytes() == other.layer(i).tobytes()
    own = ("stamp", "elapsed_s", "peak_mem_mb", "seal")
    a, b = ({k: v for k, v in s.attributes.items() if k not in own} for s in (one, other))
    assert a == b
    assert own[0] in other.attributes
    assert set(one.attributes) == set(other.attributes)
