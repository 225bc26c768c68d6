"""A model of another lab stands in the matrix, with exactly the scores that its exporter has, and without weights."""

import pandas as pd
import pytest

from .conftest import RESULTS

pytestmark = pytest.mark.workflow
ZOO = "config/zoo/imported.yaml"


def said(done, code=0):
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def scores(sweep, model):
    """Score and null of a model with every partner but copies of itself, by partner, metric and k."""
    table = pd.read_parquet(sweep.folder / "results/tables/alignment.parquet")
    found = {}
    for row in table.to_dict(orient="records"):
        pair = {row["model_x"], row["model_y"]}
        if model in pair and not {"vit_b", "lab"} <= pair:
            (partner,) = pair - {model}
            layers = {row["model_x"]: row["layer_x"], row["model_y"]: row["layer_y"]}
            values = (row["score"], layers[model], layers[partner], str(row["p"]))
            found[partner, row["metric"], row["k"]] = values
    return found


def test_imported_lists_are_a_file_and_a_line_and_give_the_exporters_scores(sweep):
    assert "kB a layer" in said(sweep.cli("export", "neighbors", "vit_b", "-o", "lab.safetensors"))
    assert "--output" in said(sweep.cli("export", "neighbors", "vit_b", "-o", "lab.safetensors"), 1)
    assert f"add {ZOO} to zoo" in said(sweep.cli("import", "lab.safetensors", "--id", "lab"))
    assert sweep.due() == {}
    sweep.config["zoo"] = ["zoo.yaml", ZOO]
    assert sweep.due() == {"index_features": 1, "align_row": 1, "infer_row": 1, **RESULTS}
    done = sweep.snakemake()
    assert "lab gives no cka: its file has no gram" in done.stdout + done.stderr
    assert sweep.due() == {}
    own, imported = scores(sweep, "vit_b"), scores(sweep, "lab")
    assert imported == {key: score for key, score in own.items() if key[1] != "cka"}
    assert len(imported) == 6  # three partners, two k
    assert not (sweep.folder / "results/weights/lab").exists()
    assert not (sweep.folder / "results/features/synthetic/lab.zarr").exists()
    status = said(sweep.cli("status"))
    assert "lab on synthetic: no cka: its file has no gram" in status
    assert "missing" not in [line.split()[0] for line in status.splitlines() if line.strip()]
    assert "lab † ⇣" in (sweep.folder / "results/tables/capability_alignment.md").read_text()


def test_imported_features_give_every_metric_and_have_no_weights(sweep):
    said(sweep.cli("export", "features", "vit_b", "--as", "parquet", "-o", "lab.parquet"))
    said(sweep.cli("import", "lab.parquet", "--id", "lab"))
    sweep.config["zoo"] = ["zoo.yaml", ZOO]
    assert sweep.due() == {"extract_features": 1, "index_features": 1, "align_row": 1, "infer_row": 1, **RESULTS}
    sweep.snakemake()
    assert sweep.due() == {}
    assert scores(sweep, "lab") == scores(sweep, "vit_b")
    assert not (sweep.folder / "results/weights/lab").exists()


def test_scores_of_another_sweep_are_held_against_those_of_this_one(sweep):
    assert "18 scores" in said(sweep.cli("export", "scores", "-o", "theirs.parquet"))
    report = said(sweep.cli("import", "theirs.parquet"))
    assert "18 scores are in results/imported/theirs.parquet; 18 of them are of pairs of this sweep" in report
    assert report.count("6 pairs, largest difference 0 ") == 3
    assert sweep.due() == {}


def test_a_damaged_import_is_one_message(sweep):
    said(sweep.cli("export", "neighbors", "vit_b", "-o", "lab.safetensors"))
    file = sweep.folder / "lab.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    told = said(sweep.cli("import", "lab.safetensors", "--id", "lab"), 1)
    assert told.startswith("zooalign: lab.safetensors: truncated or damaged")
    assert len(told.splitlines()) == 1
    assert not (sweep.folder / ZOO).exists()
