"""Cells of the sensitivity run their own index and row jobs, and nothing of the sweep itself."""

import pytest

from zooalign.config.sweep import load_sweep, read_config
from zooalign.layout import Layout
from zooalign.results.findings import Findings
from zooalign.results.sensitivity import follow
from zooalign.workflow.work import Work

pytestmark = pytest.mark.workflow


def opened(sweep):
    return Work(load_sweep(read_config(sweep.folder / "config.yaml"), sweep.folder), Layout(sweep.folder / "results"))


def test_a_cell_runs_its_own_index_and_row_jobs(sweep):
    sweep.config["sensitivity"] = {"k": [3, 5], "similarity": ["euclidean"], "precision": ["bfloat16"]}
    # k = 5 is in the sweep's own rows; k = 3 needs rows, but no index.
    assert sweep.due() == {"index_prepared": 8, "align_prepared": 12, "make_report": 1}
    sweep.snakemake()
    assert sweep.due() == {}
    work = opened(sweep)
    assert not any(map(work.is_due, work.all_items()))
    findings = Findings(
        work.sweep,
        *(
            tuple(work.file(*i) for i in work.items(r))
            for r in ("align_row", "measure_capability", "infer_row", "align_prepared")
        ),
    )
    frames = findings.cells
    assert {name: len(frame) for name, frame in frames.items()} == {
        "k-3": 4, "k-5": 4, "similarity-euclidean": 4, "precision-bfloat16": 4,
    }  # fmt: skip
    own = findings.alignment
    own = own[(own["metric"] == "mutual_knn") & (own["k"] == 10) & (own["comparison"] == "vision-language")]
    columns = ["model_x", "model_y", "score"]
    same = [f[columns].sort_values(columns[:2], ignore_index=True) for f in (own, frames["similarity-euclidean"])]
    assert same[0].equals(same[1])
    found = follow(own, frames, work.sweep.cells, findings.models, "synthetic", "language")
    assert found.worst is None
    assert found.sentence.startswith("no tau: fewer than 4 models")
    # Settings that leave go without a trace in what stays; the report shows those that are asked for.
    sweep.config["sensitivity"]["similarity"] = []
    assert sweep.due() == {"make_report": 1}
    (sweep.folder / "results/sensitivity/precision-bfloat16/indexes/synthetic/vit_a.zarr/zarr.json").unlink()
    due = sweep.due()
    assert due.pop("index_prepared") == 1
    assert set(due) == {"align_prepared", "make_report"}


def test_a_pooling_asked_for_later_is_extracted_in_one_more_pass(sweep):
    sweep.config["sensitivity"] = {"pooling": ["mean"]}
    own = sweep.folder / "results/features/synthetic/vit_a.zarr/zarr.json"
    before, rows = own.read_bytes(), {m: sweep.receipt(m) for m in ("wordllama", "vit_b")}
    sweep.snakemake()
    assert own.read_bytes() == before
    assert {m: sweep.receipt(m) for m in rows} == rows
    assert sweep.due() == {}
    work = opened(sweep)
    assert [i.name for i in work.items("index_prepared")] == [
        "pooling-mean/synthetic/vit_a",
        "pooling-mean/synthetic/vit_b",
    ]
    assert work.store("synthetic", "vit_a", "pooling-mean").joinpath("zarr.json").exists()
