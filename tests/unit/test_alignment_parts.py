"""A pair scored in parts: merged it is what the pair at once gives, null and best layer included."""

import json
from pathlib import Path

import numpy as np
import pytest

from zooalign.alignment.parts import merge_parts
from zooalign.alignment.score import score, score_command
from zooalign.errors import ConfigError, StoreError

METRICS = "mutual_knn@3,mutual_knn@10,cka,cknna@5,svcca,rsa,pwcca"


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """Files of a model of eleven layers, one of which is near the second of the other's three."""
    folder = tmp_path_factory.mktemp("sides")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, 11, 24)), rng.standard_normal((80, 3, 24))
    x[:, 7] = y[:, 1] + 0.3 * rng.standard_normal((80, 24))
    x[:, 2] *= 40  # sets the threshold at which all layers are clipped
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    return str(folder / "x.npy"), str(folder / "y.npy")


def in_parts(sides, folder, of, **options):
    files = [folder / f"{i}.json" for i in range(1, of + 1)]
    for i, file in enumerate(files, 1):
        score_command(*sides, part=f"{i}/{of}", json_file=str(file), **options)
    return files


@pytest.mark.parametrize("of", [1, 4, 11])
def test_merged_parts_are_the_pair_at_once(sides, of, tmp_path):
    options = {"metric": METRICS, "null": 40, "seed": 3}
    files = in_parts(sides, tmp_path, of, **options)
    merged, whole = merge_parts(files[::-1]).as_dict(), score(*sides, **options).as_dict()
    assert merged == json.loads(json.dumps(whole))
    assert merged["best"]["mutual_knn@10"]["layer_x"] == 7
    assert merged["null"]["cka"]["p_value"] == 1 / 41


def test_parts_that_do_not_belong_together_are_refused(sides, tmp_path):
    files = in_parts(sides, tmp_path, 3, metric="cka")
    with pytest.raises(StoreError, match="part 2 of 3 is missing"):
        merge_parts([files[0], files[2]])
    with pytest.raises(StoreError, match="a part is there twice"):
        merge_parts([*files, files[1]])
    score_command(*sides, part="2/3", metric="cka", prepare="normalise=none", json_file=str(files[1]))
    with pytest.raises(StoreError, match=r"2\.json: preparation is another than in .*1\.json"):
        merge_parts(files)
    score_command(*sides, metric="cka", json_file=str(files[1]))
    with pytest.raises(StoreError, match=r"2\.json: no scores of a part"):
        merge_parts(files)
    with pytest.raises(StoreError, match="no scores of a part"):
        merge_parts([Path("none.json")])


@pytest.mark.parametrize("part", ["0/3", "4/3", "1/12", "two", "1/0"])
def test_parts_that_there_are_not(sides, part):
    with pytest.raises(ConfigError, match=r"write 2/8 for the second of eight ranges; .* has 11 layers"):
        score(*sides, "cka", part=part)
    with pytest.raises(ConfigError, match="leave out splits, or part"):
        score(*sides, "cka", part="1/2", splits=10)
