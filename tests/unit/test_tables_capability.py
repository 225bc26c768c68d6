"""The long table of capabilities: values with intervals and sources, and what cannot be had with a reason."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.synthetic_findings import MODELS, findings, model, published, record
from zooalign.capability._record import ratio_standard_error
from zooalign.config.external import External
from zooalign.config.identity import result_digest
from zooalign.config.schema import CapabilityConfig, Config
from zooalign.config.sweep import Sweep
from zooalign.errors import StoreError
from zooalign.results.findings import Findings
from zooalign.results.frames import CapabilityRow
from zooalign.results.intervals import of_ratio, of_value
from zooalign.results.read import Documents, read_documents
from zooalign.tables import capability as capability_table

# --- intervals --------------------------------------------------------------------------------------------


def row(value, error, n=100, unit="accuracy"):
    return CapabilityRow("x", "m", value, error, unit, True, n, "")


def share(hits, n):
    p = hits / n
    return row(p, math.sqrt(p * (1 - p) / (n - 1)), n)


def test_a_plain_share_has_wilsons_interval():
    # Wilson's interval of 81 in 263 (Newcombe 1998, Statistics in Medicine 17, table I).
    found = of_value(share(81, 263))
    assert found.method == "Wilson"
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    nobody, everybody = of_value(share(0, 20)), of_value(share(20, 20))
    assert (nobody.low, nobody.high) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.1611, abs=5e-5))
    assert everybody.low == pytest.approx(1 - nobody.high)


def test_other_values_have_the_normal_interval():
    assert of_value(row(1.2, 0.1, unit="bits/byte"))[:2] == (
        pytest.approx(1.2 - 0.19600, abs=1e-5), pytest.approx(1.2 + 0.19600, abs=1e-5),
    )  # fmt: skip
    balanced = of_value(row(0.95, 0.1))  # not the error of a plain share of 100
    assert balanced.method == "normal"
    assert balanced.high == 1.0
    assert of_value(row(51.0, 1.0))[:2] == (pytest.approx(49.04, abs=0.01), pytest.approx(52.96, abs=0.01))
    assert of_value(row(0.5, math.nan)) is None
    assert of_value(row(math.nan, 0.1)) is None


def test_the_bootstrap_of_a_ratio_agrees_with_its_linearised_error():
    generator = np.random.default_rng(0)
    n_bytes = generator.integers(200, 3000, 400)
    bits = n_bytes * generator.normal(1.1, 0.2, 400)
    found = of_ratio(bits, n_bytes)
    assert found.low < bits.sum() / n_bytes.sum() < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * ratio_standard_error(bits, n_bytes), rel=0.06)
    assert of_ratio(bits, n_bytes) == found
    assert of_ratio([1.0], [1]) is None
    assert found.one_minus().low == 1 - found.high


def test_the_bootstrap_of_a_ratio_covers_the_truth():
    """300 corpora of 60 documents: about 95 % of the intervals hold the ratio of the population."""
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        n_bytes = generator.lognormal(7, 0.6, 60)
        bits = n_bytes * (1.2 + generator.normal(0, 0.3, 60))
        found = of_ratio(bits, n_bytes)
        hits += found.low <= 1.2 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


# --- documents of records ---------------------------------------------------------------------------------


def documents(bits, n_bytes):
    return {"details": {"documents": {"id": [str(i) for i in range(len(bits))], "bits": bits, "bytes": n_bytes}}}


def test_documents_are_read_where_records_list_them(tmp_path):
    paths = [
        record(tmp_path, "bits", "gpt", 1.5, **documents([100.0, 200.0], [80, 120])),
        record(tmp_path, "bits", "noise_l", None, details={"reason": "out of memory"}),
        record(tmp_path, "probe", "cnn", 0.5),
    ]
    assert read_documents(paths) == {("bits", "gpt"): Documents([100.0, 200.0], [80, 120])}


@pytest.mark.parametrize(
    "listed",
    [
        documents([100.0, 200.0], [80, 121]),
        documents([100.0, 200.0], [200]),
        documents([], []),
        documents([300.0, None], [100, 100]),
        {"details": {"documents": {"bits": [300.0]}}},
        {"details": {"documents": 3}},
    ],
)
def test_documents_that_are_not_the_value_are_refused(tmp_path, listed):
    path = record(tmp_path, "bits", "gpt", 1.5, **listed)
    with pytest.raises(StoreError, match=r"gpt\.json: its documents do not add up to its value\. Delete it and run"):
        read_documents([path])


# --- the table --------------------------------------------------------------------------------------------


MEASURED = {
    "bits_per_byte": {"gpt": 1.0, "noise_l": "out of memory"},
    "probe": {"cnn": 0.9, "noise_v": 0.3},
}


def made(folder, **options):
    """The published table, and its frame by capability and model."""
    found = published("capability", findings(folder, **{"capabilities": MEASURED} | options), folder / "tables")
    return found.frame.set_index(["capability", "model"]), found


def rows(folder, **more):
    """The frame, with what else the values are made from given by hand."""
    found = findings(folder, capabilities=MEASURED)
    return capability_table.rows(found.capability, found.models, **more).set_index(["capability", "model"])


def test_every_value_has_a_line_with_interval_and_source(tmp_path):
    theirs = External("probe", "vit", 0.7, 0.01, "accuracy", True, 500, "leaderboard", "a.csv, line 2")
    table, files = made(tmp_path, external=(theirs,))
    wanted = ["value", "n", "unit", "source"]
    assert table.loc["probe", "vit"][wanted].tolist() == [0.7, 500, "accuracy", "leaderboard"]
    assert table.loc["probe", "cnn"][wanted].tolist() == [0.9, 360, "accuracy", "measured"]
    bits = table.loc["bits_per_byte", "gpt"]
    assert (bits["low"], bits["high"]) == (pytest.approx(0.9608, abs=1e-4), pytest.approx(1.0392, abs=1e-4))
    assert (bits["interval"], bits["source"]) == ("normal", "measured")
    other = table.loc["1 - bits_per_byte", "gpt"]
    assert (other["value"], other["standard_error"], bool(other["higher_is_better"])) == (0.0, 0.02, True)
    assert (other["low"], other["high"]) == (1 - bits["high"], 1 - bits["low"])
    failed = table.loc["bits_per_byte", "noise_l"]
    assert math.isnan(failed["value"])
    assert failed["reason"] == "out of memory"
    assert bool(table.loc["probe", "noise_v"]["control"])
    stored = pq.read_table(f"{files.path}.parquet").to_pandas()
    read = files.read(keep_default_na=False, dtype=str)
    assert read["model"].tolist() == stored["model"].tolist() == files.frame["model"].tolist()
    assert read["value"].iloc[-1] == f"{stored['value'].iloc[-1]:.8f}"
    text = files.markdown
    assert "## probe (accuracy, higher is better)" in text
    assert "## 1 - bits_per_byte (1 - bits/byte, higher is better)" in text
    assert "| noise_l † | random |  |  |  | measured | out of memory |" in text
    assert text.index("| cnn |") < text.index("| noise_v † |")  # the better first


def test_bits_per_byte_have_a_bootstrap_interval_over_documents(tmp_path):
    generator = np.random.default_rng(3)
    listed = Documents(generator.normal(1000, 100, 50).tolist(), [1000] * 50)
    by_document = {("bits_per_byte", "gpt"): listed}
    table = rows(tmp_path / "a", documents=by_document)
    for name, wanted in (("bits_per_byte", of_ratio(*listed)), ("1 - bits_per_byte", of_ratio(*listed).one_minus())):
        line = table.loc[name, "gpt"]
        assert (line["low"], line["high"], line["interval"]) == wanted
    # Somebody else's value has not been measured on our documents.
    table = rows(tmp_path / "b", documents=by_document, sources={("bits_per_byte", "gpt"): "leaderboard"})
    assert table.loc["bits_per_byte", "gpt"]["interval"] == "normal"


def test_what_cannot_be_had_is_a_reason_and_no_number(tmp_path):
    asked = (CapabilityConfig(id="bits_per_byte", kind="bits_per_byte", dataset="texts"),)
    table, files = made(tmp_path, asked=asked, left_out={"gated": "its terms are not accepted"})
    line = table.loc["bits_per_byte", "bert"]
    assert line["reason"] == "not a causal model"
    numbers = ["value", "standard_error", "low", "high"]
    assert line[numbers].isna().all()
    assert table.loc["", "gated"]["reason"] == "not in the sweep: its terms are not accepted"
    assert "bits_per_byte,bert,f4,language,False,,,,,,,0,,,,not a causal model" in files.csv.splitlines()
    assert "| bert | f4 |  |  |  |  | not a causal model |" in files.markdown
    assert "- gated: not in the sweep: its terms are not accepted." in files.markdown


def test_a_sweep_without_capabilities_has_an_empty_table(tmp_path):
    table, files = made(tmp_path, capabilities={})
    assert len(table) == 0
    assert files.read().columns.tolist()[:4] == ["capability", "model", "family", "modality"]
    assert "There are no rows." in files.markdown


def test_the_order_of_anything_changes_no_byte(tmp_path):
    asked = (CapabilityConfig(id="bits_per_byte", kind="bits_per_byte", dataset="texts"),)
    one = findings(tmp_path, capabilities=MEASURED, asked=asked)
    other = findings(tmp_path, capabilities=MEASURED, asked=asked, models=MODELS[::-1])
    turned = Findings(other.sweep, other.row_paths[::-1], other.capability_paths[::-1])
    first, second = (published("capability", f, tmp_path / name) for f, name in ((one, "a"), (turned, "b")))
    assert first.bytes() == second.bytes()


# --- what a sweep asks for --------------------------------------------------------------------------------


def sweep(failures=None, external=(), capabilities=None):
    models = (
        model("cnn", "vision"),
        model("gpt", "language"),
        model("bert", "language", objective="sentence-encoder"),
        model("big", "language"),
    )
    rows = (
        CapabilityConfig(id="bits", kind="bits_per_byte", dataset="texts"),
        CapabilityConfig(id="probe", kind="linear_probe", dataset="pictures"),
    )
    chosen = rows if capabilities is None else capabilities
    config = Config(zoo=(), datasets=("pictures",), metrics={"cka": {}}, capabilities=chosen)
    return Sweep(config, models, {}, {"gated": "its terms are not accepted"}, failures or {}, external=external)


@pytest.mark.parametrize(
    ("failures", "reason"),
    [
        ({}, "not measured"),
        ({"fetch_weights": {"big": "no such file"}}, "fetch_weights failed: no such file"),
        ({"measure_capability": {"bits/big": "out of memory"}}, "measure_capability failed: out of memory"),
        ({"build_dataset": {"texts": "no network"}}, "build_dataset failed: no network"),
        ({"measure_capability": {"other/big": "out of memory"}}, "not measured"),
    ],
)
def test_models_that_have_no_value_are_listed_with_why(tmp_path, failures, reason):
    own = [record(tmp_path, "bits", "gpt", 1.5, **documents([100.0, 200.0], [80, 120]))]
    own += [record(tmp_path, "probe", "cnn", 0.5)]
    made = published("capability", Findings(sweep(failures), (), tuple(own)), tmp_path / "tables")
    table = made.read(keep_default_na=False).set_index(["capability", "model"])
    assert table.loc[("bits", "bert"), "reason"] == "not a causal model"
    assert table.loc[("bits", "big"), "reason"] == reason
    assert table.loc[("bits", "gpt"), "interval"] == "bootstrap of documents"
    assert set(table.index) == {
        ("", "gated"), ("1 - bits", "gpt"), ("bits", "bert"), ("bits", "big"), ("bits", "gpt"), ("probe", "cnn"),
    }  # fmt: skip


def test_a_value_from_elsewhere_says_where_from(tmp_path):
    theirs = External("bits", "big", 0.9, math.nan, "bits/byte", False, 0, "leaderboard", "a.csv, line 2")
    own = (record(tmp_path, "bits", "gpt", 1.5),)
    made = published("capability", Findings(sweep(external=(theirs,)), (), own), tmp_path / "tables")
    table = made.read(keep_default_na=False).set_index(["capability", "model"])
    assert table.loc[("bits", "big"), ["source", "value"]].tolist() == ["leaderboard", "0.90000000"]
    assert table.loc[("bits", "gpt"), "source"] == "measured"


def test_asking_for_more_makes_the_table_stale():
    def digest(**change):
        return result_digest(sweep(**change), "tables", "capability", {}, {}, {})

    assert digest(capabilities=()) != digest()
    assert digest() == digest()
