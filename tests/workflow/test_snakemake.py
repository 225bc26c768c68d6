"""The workflow as any user of Snakemake expects it: targets, forcing, selecting, reports, modules, other folders."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from .conftest import RESULTS, ROOT, Checkout, counted, tiny_vit

pytestmark = pytest.mark.workflow
TABLE = "results/tables/alignment.csv"
TABLES = {rule: n for rule, n in RESULTS.items() if rule.startswith("make_table_")}


def planned(checkout, *arguments):
    """Jobs that these arguments would run, by rule."""
    return counted(checkout.snakemake(*arguments, "-n", "--quiet", "rules").stdout)


@pytest.mark.parametrize(
    ("arguments", "jobs"),
    [
        (["-R", "align_row"], {"align_row": 4, **RESULTS}),
        (["-R", "make_tables"], {"make_tables": 1, **TABLES, "make_report": 1}),
        (["-f", TABLE], {"make_table_alignment": 1}),
        (["-f", "results/features/synthetic/vit_a.zarr/zarr.json"], {"extract_features": 1}),
        (["--forceall", TABLE], {"build_dataset": 1, "fetch_weights": 4, "extract_features": 4, "index_features": 4,
                                 "align_row": 4, "infer_row": 4, "measure_capability": 2, "make_table_alignment": 1}),
        (["-R", "index_features", "--until", "index_features"], {"index_features": 4}),
        (["-R", "extract_features", "--omit-from", "align_row", "infer_row"],
         {"extract_features": 4, "index_features": 4, "measure_capability": 2}),
        (["make_tables", "-R", "align_row", "--batch", f"make_tables=1/{len(TABLES)}"],
         {"align_row": 4, "make_table_alignment": 1}),
        (["--allowed-rules", "build_dataset"], {}),
        (["make_tables"], {}),
        (["results/indexes/synthetic/vit_a.zarr/zarr.json"], {}),
        (["results/alignment/synthetic/vit_a.parquet", "results/capability/shapes/vit_a.json"], {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_runs_follows_the_command_line(finished, arguments, jobs):
    assert planned(finished, *arguments) == jobs


def test_pictures_and_lists_of_the_workflow(finished):
    graph = finished.snakemake("--rulegraph").stdout
    for rule in (
        "build_dataset",
        "fetch_weights",
        "extract_features",
        "index_features",
        "align_row",
        "infer_row",
        "make_figure",
        "make_report",
    ):
        assert f'label = "{rule}"' in graph
    assert "model: vit_a" in finished.snakemake("--dag", "--forceall").stdout
    summary = finished.snakemake("--summary").stdout
    assert f"{TABLE}\t" in summary
    assert "results/features/synthetic/vit_a.zarr/zarr.json\t" in summary
    deleted = finished.snakemake("--delete-all-output", "-n")
    assert f"Would delete {TABLE}" in deleted.stdout + deleted.stderr
    assert (finished.folder / TABLE).exists()


def test_the_linter_finds_nothing(finished):
    done = finished.snakemake("--lint", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_report_has_tables_and_figures_under_their_names(sweep):
    sweep.snakemake("--report", "report.html")
    text = (sweep.folder / "report.html").read_text()
    for word in (
        "alignment.csv",
        "capability_alignment.md",
        "heat_map_synthetic.svg",
        "results/report.html",
        "Tables",
        "Figures",
        "Report",
    ):
        assert word in text


def test_forcing_a_rule_or_a_file_computes_it_again(sweep):
    done = sweep.snakemake("-R", "align_row", "--until", "align_row")
    assert {r["kept"] for r in sweep.receipts().values()} == {0}
    assert sum(sweep.pairs().values()) == 6
    assert "tables   results/tables: alignment" in done.stderr
    store = "results/features/synthetic/vit_a.zarr/zarr.json"
    before = json.loads((sweep.folder / store).read_text())["attributes"]["stamp"]
    sweep.snakemake("-f", store)
    assert json.loads((sweep.folder / store).read_text())["attributes"]["stamp"] != before
    assert sweep.due() == {}  # the same features: nothing follows


def test_what_was_not_asked_for_is_not_given_out_as_the_result(sweep):
    del sweep.config["metrics"]["cka"]
    done = sweep.snakemake("--until", "align_row")
    assert "run without targets, --until and --omit-from" in done.stderr
    assert "tables   " not in done.stderr


def test_touch_does_what_digests_allow(sweep):
    assert sweep.snakemake("--touch").returncode == 0
    sweep.models[0]["pooling"] = "mean"
    due = sweep.due()
    refused = sweep.snakemake("--touch", check=False)
    assert refused.returncode != 0
    assert "--touch cannot make" in refused.stderr
    assert "extract_features synthetic/vit_a" in refused.stderr
    assert sweep.due() == due


DAMAGED = {
    "tables/capability_alignment.md": {"make_table_capability_alignment": 1, "make_report": 1},
    "figures/heat_map_synthetic.png": {"make_figure": 1},
    "report.html": {"make_report": 1},
    "capability/shapes/vit_a.json": {"measure_capability": 1, **RESULTS},
    "alignment/synthetic/wordllama.parquet": {"align_row": 1, **RESULTS},
    "inference/synthetic/wordllama.parquet": {"infer_row": 1, **RESULTS},
    "weights/vit_a/weights.json": None,
    "datasets/synthetic/dataset.json": None,
    "features/synthetic/vit_b.zarr/zarr.json": None,
    "indexes/synthetic/vit_b.zarr/neighbors/c.0.0.0": None,
}
FIRST = {"weights": "fetch_weights", "datasets": "build_dataset", "features": "extract_features",
         "indexes": "index_features"}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_is_deleted_cut_off_or_edited_is_due_with_what_is_made_from_it(sweep, name):
    """By hand, behind Snakemake's back, and with a time that is older than everything."""
    file = sweep.folder / "results" / name
    whole = file.read_bytes()
    damages = {"cut off": whole[: len(whole) // 2], "deleted": None}
    if file.suffix in (".md", ".json", ".png"):
        damages["edited"] = whole.replace(b"e", b"a", 1) if file.suffix != ".png" else whole[:-1] + b"x"
    for what, content in damages.items():
        file.unlink()
        if content is not None:
            file.write_bytes(content)
            os.utime(file, (1000, 1000))
        due = sweep.due()
        if DAMAGED[name] is not None:
            assert due == DAMAGED[name], what
        else:
            assert due.pop(FIRST[name.split("/")[0]]) == 1, what
            assert {**RESULTS}.items() <= due.items(), what
            assert not {"build_dataset", "fetch_weights"} & set(due), what
        file.unlink(missing_ok=True)
        file.write_bytes(whole)
        assert sweep.due() == {}, what


def test_a_configuration_on_the_command_line_replaces_the_default_one(sweep):
    mine = {**sweep.config, "metrics": {"mutual_knn": {"k": [5, 10]}}, "figures": []}
    (sweep.folder / "other").mkdir()
    (sweep.folder / "other/mine.yaml").write_text(yaml.safe_dump(mine))
    assert planned(sweep, "--configfile", "other/mine.yaml") == {
        "align_row": 3,
        **TABLES,
        "make_report": 1,
    }  # fmt: skip  (the fourth row holds no pair)
    assert "fetch_weights" not in planned(sweep, "--config", 'models=["vit_a", "wordllama"]')


def test_results_lie_where_snakemake_works_whatever_the_folder_is_called(finished, tmp_path):
    folder = tmp_path / "a folder, with blanks"
    shutil.copytree(finished.folder, folder)
    copy = Checkout(folder)
    copy.models[0] = tiny_vit("vit_a", 8)
    copy.snakemake("results/tables/alignment.csv")
    assert copy.receipt("vit_a")
    elsewhere = Checkout(tmp_path / "elsewhere")
    assert planned(elsewhere, "--directory", str(folder)) == planned(copy)
    done = elsewhere.snakemake("--directory", str(folder))
    assert "tables   results/tables: alignment" in done.stderr
    assert "outputs are not made" not in done.stderr
    assert not (elsewhere.folder / "results").exists()


def test_the_workflow_is_a_module_of_another_one(sweep, tmp_path):
    sweep.write()
    config = {**sweep.config, "zoo": [str(sweep.folder / "zoo.yaml")]}
    (sweep.folder / "Snakefile").write_text(
        f"""
module zoo:
    snakefile: {str(ROOT / "Snakefile")!r}
    config: {config!r}

use rule * from zoo as zoo_*

rule count:
    default_target: True
    input: {TABLE!r}
    output: "count.txt"
    shell: "grep -vc '^#' {{input}} > {{output}}"
"""
    )
    (sweep.folder / TABLE).unlink()
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", ROOT / "profiles/default"]
    done = subprocess.run(command, cwd=sweep.folder, text=True, capture_output=True, timeout=1000)
    assert done.returncode == 0, done.stderr
    assert int((sweep.folder / "count.txt").read_text()) == 1 + 6 * 3
    assert "Finished jobid: 1 (Rule: zoo_make_table_alignment)" in done.stderr


def test_conda_is_refused_in_one_sentence(finished):
    refused = finished.snakemake("--sdm", "conda", "-n", check=False)
    assert refused.returncode != 0
    assert (refused.stdout + refused.stderr).count("zooalign runs in one environment") == 1


def test_unit_tests_can_be_generated(sweep):
    for name in ("Snakefile", "workflow", "envs"):
        (sweep.folder / name).symlink_to(ROOT / name)  # Snakemake wants them below the working folder
    sweep.write()
    # In a process of its own: Snakemake notes the working folder when it is imported.
    command = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--cores", "2", "--generate-unit-tests"]
    subprocess.run([*command, "unit"], cwd=sweep.folder, capture_output=True, check=True, timeout=1000)
    assert (sweep.folder / "unit/test_align_row.py").exists()


def test_jobs_are_announced_by_rule_model_and_dataset_and_not_by_files(finished):
    said = finished.said
    assert "Features of vit_a on synthetic" in said
    assert "Row of wordllama on synthetic" in said
    assert "Reason: " not in said
    assert max(map(len, said.splitlines())) < 400
