"""The samples where two models agree and disagree most, with their pictures and texts."""

from __future__ import annotations

import base64
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from zooalign.errors import DatasetError
from zooalign.report.packing import number, packed_json

if TYPE_CHECKING:
    from zooalign.data.samples import Samples
    from zooalign.results.findings import Findings

VERSION = 1  # part of the digest of what this module determines

SHOWN = 6  # samples of each kind per pair
_SIDE = 88  # pixels
_QUALITY = 60
# All pictures of a report; those that most pairs show come first.
PICTURE_BYTES = 1_500_000
_LONGEST_TEXT = 300


def shown_samples(findings: Findings, dataset: str, picture_bytes: int = PICTURE_BYTES) -> dict[str, Any] | None:
    """Samples that add most and least to the headline score of every pair.

    Returns
    -------
    dict or None
        "pairs": by "x|y" (positions in the sweep's models) the samples and their terms, "most" with the highest first
        and "least" with the lowest first (of equals, the first in the dataset), and how many samples share the lowest
        term; "texts", "ids" and "pictures" (WebP, base64) by sample. None for a metric that is no mean over samples,
        or where the dataset is not in the results folder.
    """
    place = {spec.id: i for i, spec in enumerate(findings.sweep.models)}
    wanted = (findings.metric, findings.k)
    pairs: dict[str, dict[str, Any]] = {}
    counts: Counter[int] = Counter()
    for of_file in findings.arrays_of(dataset, "terms", {findings.metric}):
        for (_, x, y), by_metric in of_file.items():
            terms = by_metric.get(wanted)
            if terms is None or not len(terms):
                continue
            pairs[f"{place[x]}|{place[y]}"] = one = _extremes(terms)
            counts.update([*one["most"], *one["least"]])
    if not pairs or not findings.layout.dataset(dataset).exists():
        return None
    samples = findings.samples(dataset)
    used = sorted(counts)
    texts = _texts(findings, samples)
    return {
        "pairs": dict(sorted(pairs.items())),
        "ids": {i: samples.ids[i] for i in used},
        "texts": {i: texts[i][:_LONGEST_TEXT] for i in used} if texts else {},
        "pictures": _pictures(samples, [i for i, _ in counts.most_common()], picture_bytes),
    }


def _extremes(terms: np.ndarray) -> dict[str, Any]:
    downwards = np.argsort(-terms, kind="stable")[:SHOWN]
    upwards = np.argsort(terms, kind="stable")[:SHOWN]
    return {
        "most": downwards.tolist(),
        "least": upwards.tolist(),
        "most_terms": [number(terms[i]) for i in downwards],
        "least_terms": [number(terms[i]) for i in upwards],
        "lowest": int((terms == terms[upwards[0]]).sum()),
    }


def _texts(findings: Findings, samples: Samples) -> list[str]:
    try:
        return samples.captions(findings.sweep.config.extraction.text)
    except DatasetError:
        return []


def _pictures(samples: Samples, by_use: list[int], most_bytes: int) -> dict[int, str]:
    """Small pictures as WebP, re-encoded: of what is in the stored bytes, the pixels alone reach the page."""
    pictures: dict[int, str] = {}
    total = 0
    if samples.kind != "pairs":
        return pictures
    for i in by_use:
        image = samples.image(i)
        image.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=_QUALITY)
        total += len(buffer.getvalue())
        if total > most_bytes:
            break
        pictures[i] = base64.b64encode(buffer.getvalue()).decode("ascii")
    return dict(sorted(pictures.items()))


def packed_samples(findings: Findings, datasets: tuple[str, ...]) -> dict[str, str]:
    """`shown_samples` of every dataset that has some, packed; the datasets share the bytes for pictures."""
    found = {name: shown_samples(findings, name, PICTURE_BYTES // len(datasets)) for name in datasets}
    return {name: packed_json(samples) for name, samples in found.items() if samples is not None}
