"""The packaged sets of 1,024 pairs: fixed, distinct, attributed, with signal between the modalities."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from zooalign.data.debian import unpacked
from zooalign.data.samples import Samples
from zooalign.datasets import emoji, pictures
from zooalign.datasets._emoji_groups import group_of
from zooalign.errors import DatasetError

from ..built import assert_same_bytes

IDS_DIGEST = {
    "emoji": "6d8e319e0c2d663efa841fa09cfce772e3829168b8902a8c2e0d26701d33c737",
    "pictures": "66fcb23d6f6532bd20b2f8e1d9d88de914bff2417166cd306d72ad55ccb56e63",
}
BOTH = [
    "emoji",
    pytest.param(
        "pictures",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(shutil.which("apt-get") is None, reason="pictures needs Debian packages by apt-get"),
        ],
    ),
]


@pytest.fixture(params=BOTH)
def samples(request, builds) -> Samples:
    return builds[request.param]


def test_1024_in_a_fixed_order(samples):
    assert len(samples) == len(samples.ids) == 1024
    tested = {package: version for package, (_, version) in pictures.PACKAGES.items()}
    if samples.name == "pictures" and samples.about["packages"] != tested:
        pytest.skip("this Debian has other versions of the packages, so other pairs")
    assert samples.about["ids_digest"] == IDS_DIGEST[samples.name]


def test_two_builds_have_the_same_bytes(builds):
    """Of `pictures` the end-to-end sweep makes the second, and compares."""
    assert_same_bytes(builds["emoji"].folder, builds.build("emoji", "second").folder)


def test_captions_are_there_and_distinct(samples):
    captions = samples.captions()
    assert all(caption.strip() for caption in captions)
    assert len({caption.lower() for caption in captions}) == 1024
    assert all(text.strip() for density in samples.densities for text in samples.captions(density))


def test_images_are_square_rgb_and_not_blank(samples):
    for i, image in enumerate(samples.images()):
        assert (image.mode, image.size) == ("RGB", (224, 224)), samples.ids[i]
        pixels = np.asarray(image)
        assert (pixels.min(axis=2) < 245).mean() > 0.005, samples.ids[i]


def test_no_two_images_are_the_same(samples):
    thumbs = np.stack([np.asarray(im.resize((16, 16)), dtype=np.float32).ravel() for im in samples.images()])
    squared = (thumbs**2).sum(axis=1)
    distance = squared[:, None] + squared[None, :] - 2 * thumbs @ thumbs.T
    np.fill_diagonal(distance, np.inf)
    assert np.sqrt(distance.min() / thumbs.shape[1]) > 1.0  # root mean square difference, of 255


def test_groups_sources_and_licences(samples):
    assert None not in samples.groups
    assert sum(samples.about["groups"].values()) == 1024
    assert len(samples.about["groups"]) >= 7
    text = (samples.folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for source, n in samples.about["sources"].items():
        assert f"Samples: {n} (source `{source}`)" in text
    assert text.count("Authors:") == text.count("Licence:") == len(text.split("\n## ")) - 1


def test_emoji_densities(builds):
    samples = builds["emoji"]
    assert {f"name_{language}" for language in emoji.LANGUAGES} | {"name_group"} <= set(samples.densities)
    apple = samples.ids.index("1F34E")
    assert samples.captions()[apple] == "red apple"
    assert samples.captions("name_de")[apple] == "roter apfel"
    assert samples.captions("name_group")[apple] == "red apple, food and drink"


def test_emoji_leaves_out_what_is_no_concept_of_its_own(builds):
    points = [chr(int(i, 16)) for i in builds["emoji"].ids]
    assert all(len(i.split("-")) == 1 for i in builds["emoji"].ids)
    assert not any("\U0001f3fb" <= p <= "\U0001f3ff" or "\U0001f1e6" <= p <= "\U0001f1ff" for p in points)
    assert all(group_of(p) is not None for p in points)
    assert sum("o’clock" in c or "-thirty" in c for c in builds["emoji"].captions()) <= 1


def test_emoji_has_an_end(tmp_path):
    with pytest.raises(DatasetError, match=r"n is 5000, but there are 1\d\d\d distinct emoji"):
        emoji.build(emoji.Options(n=5000, size=32), tmp_path / "emoji", lambda line: None)


def test_a_smaller_set_is_the_beginning(builds, tmp_path):
    emoji.build(emoji.Options(n=20), tmp_path / "few", lambda line: None)
    from zooalign.data.samples import open_samples

    assert open_samples(tmp_path / "few").ids == builds["emoji"].ids[:20]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("apt-get") is None, reason="pictures needs Debian packages by apt-get")
def test_pictures_densities_and_sources(builds):
    samples = builds["pictures"]
    assert samples.partial_densities["gloss"] > 700
    assert samples.partial_densities["name_de"] > 500
    assert samples.partial_densities["long"] > 100
    assert set(samples.about["sources"]) == {"tuxpaint", "gcompris", "openclipart"}
    assert set(samples.attribute("style")) == {"photo", "drawing"}
    assert samples.about["alternatives"] > 100
    row = next(i for i, a in enumerate(map(samples.alternatives, range(1024))) if a)
    assert samples.alternatives(row)[0].image is not None
    assert set(samples.about["packages"]) == set(pictures.PACKAGES)


def image_features(samples: Samples) -> np.ndarray:
    """Colour histogram and gradient orientations, each of length 1; (n, 216 + 8 * 64)."""
    rows = []
    for image in samples.images():
        colour = np.asarray(image.resize((112, 112)), dtype=float)
        histogram = np.sqrt(np.histogramdd(colour.reshape(-1, 3), bins=6, range=[(0, 256)] * 3)[0].ravel())
        dy, dx = np.gradient(np.asarray(image.convert("L"), dtype=float))
        strength, direction = np.hypot(dx, dy), ((np.arctan2(dy, dx) % np.pi) / np.pi * 8).astype(int) % 8
        cell = (np.arange(224) // 28)[:, None] * 8 + (np.arange(224) // 28)[None, :]
        edges = np.bincount((cell * 8 + direction).ravel(), strength.ravel(), minlength=8 * 64)
        rows.append(np.concatenate([histogram / np.linalg.norm(histogram), edges / np.linalg.norm(edges)]))
    return np.stack(rows)


def text_features(texts: list[str]) -> np.ndarray:
    """Latent semantic analysis of TF-IDF word counts; (n, 100)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts)
    return TruncatedSVD(100, random_state=0).fit_transform(counts)


def neighbours(features: np.ndarray, k: int = 10) -> np.ndarray:
    """Boolean (n, n): whether column is among the k nearest of row."""
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-9)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    near = np.zeros(similarity.shape, dtype=bool)
    np.put_along_axis(near, np.argsort(-similarity, axis=1, kind="stable")[:, :k], True, axis=1)
    return near


def test_images_and_texts_agree_beyond_chance(samples):
    """Model-free features of pictures and of words share neighbours; permuted pairs do not."""
    density = "name_group" if samples.name == "emoji" else "caption_gloss"
    a = neighbours(image_features(samples))
    b = neighbours(text_features(samples.captions(density, fallback="caption")))
    rng = np.random.default_rng(0)
    permuted = []
    for _ in range(20):
        order = rng.permutation(len(b))
        permuted.append((a & b[np.ix_(order, order)]).sum(axis=1).mean() / 10)
    score = (a & b).sum(axis=1).mean() / 10
    assert abs(np.mean(permuted) - 10 / 1023) < 0.003
    assert score > 2 * np.mean(permuted)
    assert score > np.mean(permuted) + 8 * np.std(permuted)


def test_without_apt_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match=r"no apt-get.*apt-get download wordnet-base.*put the \.deb into"):
        unpacked("wordnet-base", "usr/share/wordnet", tmp_path / "cache", lambda line: None)


def test_without_package_lists_the_error_says_what_to_do(tmp_path, monkeypatch):
    script = tmp_path / "apt-get"
    script.write_text("#!/bin/sh\necho 'E: Unable to locate package wordnet-base' >&2\nexit 100\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(DatasetError, match="lists are missing or old: run `apt-get update`"):
        unpacked("wordnet-base", "usr/share/wordnet", tmp_path / "cache", lambda line: None)


def test_damaged_deb(tmp_path):
    (tmp_path / "wordnet-base_1_all.deb").write_bytes(b"!<arch>\n" + b"data.tar.xz".ljust(48) + b"99        `\n")
    with pytest.raises(DatasetError, match=r"damaged Debian package .it ends early"):
        unpacked("wordnet-base", "usr/share/wordnet", tmp_path, lambda line: None)
    assert not (tmp_path / "unpacked" / "wordnet-base_1_all").exists()
