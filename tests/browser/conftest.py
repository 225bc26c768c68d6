"""One browser for all tests of this folder, and a report of a made-up sweep whose captions are hostile."""

import io
import os
import random

import pytest
from PIL import Image

from zooalign.data.attribution import Attribution
from zooalign.data.records import Pair
from zooalign.data.writing import write_samples
from zooalign.report.build import report_page

from ..unit.synthetic_findings import MODELS, SCORES, findings, lines_of, model, published
from .browser import Browser, missing

N = 40
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "</script><script>window.hacked = 1</script>",
    "]]><!-- {{app}} -->",
    "a caption & its <b>markup</b>",
)
CHANGED = model("gpt_noise", "language", "f3", variant_of="gpt", intervention={"weight_noise": 0.2})


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    reason = missing()
    if reason and os.environ.get("ZOOALIGN_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    opened = Browser(tmp_path_factory.mktemp("downloads"))
    yield opened
    opened.close()


def picture(i):
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24), (6 * i, 255 - 6 * i, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def caption(i):
    return HOSTILE[i] if i < len(HOSTILE) else f"caption {i}"


def write_pictures(folder):
    """A dataset of N pairs, the first of which have markup for captions."""
    records = [
        Pair(id=f"id{i}", image=picture(i), caption=caption(i), source="here", licence="CC0-1.0") for i in range(N)
    ]
    credit = [Attribution("here", "Test pictures", "Ada", "CC0-1.0", "this file", "none")]
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_samples(folder, "pairs", records, name="pictures", description="A test.", attribution=credit, options={},
                  family="synthetic", version=1)  # fmt: skip


def terms(seed):
    """Terms of a pair under mutual_knn@10: its hostile samples agree most and least."""
    drawn = random.Random(seed)
    values = [drawn.randint(1, 8) / 10 for _ in range(N)]
    values[0], values[1], values[2], values[3], values[4] = 1.0, 1.0, 1.0, 0.0, 0.0
    return values


def found_in(folder, scores=SCORES):
    """What a sweep of six models and one intervention found, with pictures."""
    scores = {**scores, ("cnn", "gpt_noise"): 0.08, ("vit", "gpt_noise"): 0.2, ("gpt", "gpt_noise"): 0.9}
    models = (*MODELS, CHANGED)
    lines = lines_of(
        scores,
        settings=(("mutual_knn", 5), ("mutual_knn", 10), ("cka", 0), ("cycle_knn", 10)),
        models=models,
        shape=(3, 4),
    )
    for i, line in enumerate(lines):
        line["n"] = N
        if line["metric"] == "mutual_knn":
            line["terms"] = terms(i)
        if line["k"] == 5:
            line["score"] = round(0.5 * line["score"], 4)
            line["matrix"][-1] = line["score"]
    capabilities = {
        "bits_per_byte": {"gpt": 1.0, "gpt_noise": 2.0, "noise_l": 3.0},
        "digits": {"cnn": 0.7, "vit": 0.8, "noise_v": 0.4},
        # Lower is better, and better models are aligned more.
        "both_bits": {"vit": 1.0, "bert": 2.0, "gpt": 3.0, "cnn": 4.0, "gpt_noise": 5.0},
    }
    write_pictures(folder / "datasets" / "pictures")
    return findings(folder, models=models, lines=lines, capabilities=capabilities)


def write_report(folder, scores=SCORES):
    """The report of such a sweep, and its tables."""
    found = found_in(folder, scores)
    for name in ("alignment", "capability_alignment", "populations"):
        published(name, found, folder / "tables")
    text = report_page(found, sorted((folder / "tables").iterdir()))
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def report_file(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("results"))
