"""What reruns after each kind of change: exactly what it invalidates, counted in jobs and in pairs."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from zooalign.config.schema import Config

from .conftest import RESULTS, ROOT, packaged, tiny_vit

pytestmark = pytest.mark.workflow
TABLES = ("tables/alignment.csv", "tables/capability_alignment.csv")


def test_a_finished_sweep_has_nothing_to_do(sweep):
    assert sweep.due() == {}
    done = sweep.snakemake()
    assert "Nothing to be done" in done.stdout + done.stderr


def test_first_sweep_computes_every_pair_once(finished):
    assert sum(finished.pairs().values()) == 6  # 4 models: 6 pairs
    assert "wrote" in finished.said
    assert "tables   results/tables: alignment, capability_alignment, populations (.parquet, " in finished.said
    assert "figures  results/figures: heat_map_synthetic (" in finished.said
    assert "report   results/report.html" in finished.said


def test_every_table_and_figure_of_the_defaults_is_made(sweep):
    """Of four models, of which most have too little to show: they say so, and no job fails."""
    del sweep.config["tables"], sweep.config["figures"]
    tables, figures = (Config.model_fields[name].default for name in ("tables", "figures"))
    # The answer above every table, and with it every table, is one about the headline's capability.
    sweep.config["headline"] = {"capability": "shapes"}
    assert sweep.due() == {
        **{f"make_table_{name}": 1 for name in tables},
        "make_figure": len(figures),
        "make_report": 1,
    }
    sweep.snakemake()
    assert sweep.due() == {}
    made = {path.relative_to(sweep.folder / "results") for path in (sweep.folder / "results").glob("*/*.*")}
    for name in tables:
        assert {Path(f"tables/{name}{suffix}") for suffix in (".parquet", ".csv", ".md", ".tex")} <= made
    for name in figures:
        assert {Path(f"figures/{name}_synthetic{suffix}") for suffix in (".svg", ".pdf", ".png")} <= made


def test_a_language_task_is_a_dataset_and_a_line_and_reruns_nothing_else(sweep):
    """A real character model answers questions of the user's; encoders are left out."""
    rows = [
        {"text": f"{word}", "choices": [ending, "qxzvk"], "label": 0}
        for word, ending in [("the dog and the c", "at"), ("a long sto", "ry"), ("thank yo", "u"), ("peop", "le")]
    ]
    task = {
        "task": "endings", "output_type": "multiple_choice", "doc_to_text": "{{text}}", "doc_to_choice": "choices",
        "doc_to_target": "label", "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (sweep.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (sweep.folder / "endings.yaml").write_text(yaml.safe_dump(task))
    shutil.copytree(ROOT / "config/datasets", sweep.folder / "datasets")
    options = {"task_file": "endings.yaml", "documents": "rows.jsonl"}
    dataset = {"id": "endings", "family": "harness", "options": options}
    (sweep.folder / "datasets/own.yaml").write_text(yaml.safe_dump({"datasets": [dataset]}))
    sweep.config["dataset_files"] = "datasets"
    assert sweep.due() == {}
    sweep.config["capabilities"].append({"id": "endings", "kind": "language_task", "dataset": "endings"})
    assert sweep.due() == {"build_dataset": 1, "measure_capability": 1, **RESULTS}
    sweep.snakemake()
    record = json.loads((sweep.folder / "results/capability/endings/textgenrnn.json").read_text())
    assert (record["value"], record["n"], record["unit"]) == (1.0, 4, "accuracy")
    assert sweep.due() == {}
    (sweep.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows[:3])))
    assert sweep.due() == {"build_dataset": 1, "measure_capability": 1, **RESULTS}


@pytest.mark.parametrize("name", ["minilm_l6", "aaa_first_by_name"])
def test_adding_a_language_model_runs_its_own_jobs_only(sweep, name):
    row = {**packaged("minilm_l6")[0], "id": name}
    sweep.models.insert(0, row)
    assert sweep.due() == {
        "fetch_weights": 1, "extract_features": 1, "index_features": 1, "align_row": 1, "infer_row": 1, **RESULTS
    }  # fmt: skip
    before = sweep.bytes("alignment/synthetic/vit_a.parquet", "alignment/synthetic/wordllama.parquet")
    sweep.snakemake()
    assert sweep.receipt(name)["computed_pairs"] == 4
    assert sweep.bytes(*before) == before
    assert sweep.due() == {}


def test_adding_a_vision_model_computes_one_pair_per_partner(sweep):
    sweep.models.append(tiny_vit("vit_c", 3))
    assert sweep.due() == {
        "fetch_weights": 1, "extract_features": 1, "index_features": 1, "align_row": 1, "infer_row": 1,
        "measure_capability": 1, **RESULTS,
    }  # fmt: skip
    sweep.snakemake()
    receipt = sweep.receipt("vit_c")
    partners = {key.split("|")[1] for key in receipt["digests"] if key.startswith("vit_c|")}
    assert {"wordllama", "textgenrnn"} <= partners
    assert receipt["computed_pairs"] == 4


def test_a_variant_shares_the_weights_of_its_row(sweep):
    own = {
        "extract_features": 1,
        "index_features": 1,
        "align_row": 1,
        "infer_row": 1,
        "measure_capability": 1,
        **RESULTS,
    }
    sweep.models.append({"id": "vit_a_noise_0.5", "variant_of": "vit_a", "intervention": {"weight_noise": 0.5}})
    assert sweep.due() == own  # no weights to fetch
    before = sweep.bytes("alignment/synthetic/vit_a.parquet", "weights/vit_a/weights.json")
    sweep.snakemake()
    assert sweep.bytes(*before) == before
    assert sweep.receipt("vit_a_noise_0.5")["computed_pairs"] == 4
    assert not (sweep.folder / "results/weights/vit_a_noise_0.5").exists()
    text = (sweep.folder / "results/tables/capability_alignment.md").read_text()
    assert "vit_a_noise_0.5 †" in text  # vit_a was never trained, and that is what counts
    sweep.models[-1]["intervention"]["weight_noise"] = 0.6
    assert sweep.due() == own
    assert "intervention was" in sweep.cli("status").stdout
    # Without its row in the sweep, the variant still has the row's weights.
    sweep.models[-1]["intervention"]["weight_noise"] = 0.5
    sweep.config["models"] = [m["id"] for m in sweep.models if m["id"] != "vit_a"]
    assert "fetch_weights" not in sweep.due()


def test_editing_the_pooling_recomputes_the_pairs_of_that_model(sweep):
    before = sweep.receipts()
    sweep.models[0]["pooling"] = "mean"
    due = sweep.due()
    holders = [m for m, r in before.items() if any("vit_a" in key.split("|")[:2] for key in r["digests"])]
    assert due == {
        "extract_features": 1, "index_features": 1, "align_row": len(holders), "infer_row": len(holders),
        "measure_capability": 1, **RESULTS,
    }  # fmt: skip
    status = sweep.cli("status").stdout
    assert "pooling was cls, is mean" in status
    sweep.snakemake()
    recomputed = sum(sweep.receipt(m)["computed_pairs"] for m in holders)
    assert recomputed == 3  # vit_a against three others
    assert sweep.due() == {}


def test_a_further_k_computes_that_k_only(sweep):
    sweep.config["metrics"]["mutual_knn"]["k"] = [5, 10, 20]
    assert sweep.due() == {"align_row": 3, **RESULTS}  # vit_a's own row holds no pair
    sweep.snakemake()
    receipts = sweep.receipts().values()
    assert sum(r["computed"] for r in receipts) == 6
    assert sum(r["kept"] for r in receipts) == 6 * 3


def test_settings_of_nulls_make_nulls_and_what_is_made_from_them_due_and_nothing_else(sweep):
    receipt = sweep.folder / "results/inference/synthetic/textgenrnn.receipt.json"
    first = json.loads(receipt.read_text())
    sweep.config["inference"] |= {"permutations": 21}
    assert sweep.due() == {"infer_row": 3, **RESULTS}
    sweep.snakemake("--until", "infer_row")
    second = json.loads(receipt.read_text())
    assert (second["computed"], second["kept"]) == (first["computed"], 0)
    assert sweep.due() == RESULTS
    sweep.config["inference"] = {"null": "none", "intervals": "none"}
    assert sweep.due() == RESULTS


def test_removing_a_model_computes_nothing(sweep):
    gone = sweep.models.pop(0)["id"]  # vit_a, whose pairs stand in the rows of all others
    before = {m["id"]: sweep.receipt(m["id"]) for m in sweep.models}
    holders = [m for m, r in before.items() if any(gone in key.split("|")[:2] for key in r["digests"])]
    assert sweep.due() == {"align_row": len(holders), "infer_row": len(holders), **RESULTS}
    sweep.snakemake()
    after = sweep.receipts()
    assert len(holders) == 3
    assert [m for m in after if after[m]["stamp"] != before[m]["stamp"]] == holders
    assert all(after[m]["computed"] == 0 and after[m]["dropped"] > 0 for m in holders)
    assert all(gone not in key for r in sweep.receipts().values() for key in r["digests"])
    assert gone not in (sweep.folder / "results/tables/alignment.csv").read_text()
    assert sweep.due() == {}


def test_reordering_the_manifest_and_touching_every_file_run_nothing(sweep):
    sweep.models.reverse()
    for file in (sweep.folder / "results").rglob("*"):
        if file.is_file():
            file.touch()
    sweep.models[0]["notes"] = "another remark"
    assert sweep.due() == {}


def edited_library(folder, metric, change):
    """A copy of the library with another text of one metric, as an upgrade of zooalign would bring it."""
    import zooalign

    shutil.copytree(zooalign.__path__[0], folder / "zooalign", ignore=shutil.ignore_patterns("__pycache__"))
    module = folder / f"zooalign/metrics/{metric}.py"
    module.write_text(change(module.read_text()))
    return str(folder)


def test_a_new_version_of_a_metric_recomputes_that_metric_only(sweep, monkeypatch, tmp_path):
    def raised(text):
        assert "VERSION = 1\n" in text
        return text.replace("VERSION = 1\n", "VERSION = 1001\n")

    monkeypatch.setenv("PYTHONPATH", edited_library(tmp_path / "library", "cka", raised))
    assert sweep.due() == {"align_row": 3, **RESULTS}
    status = sweep.cli("status").stdout
    assert "cka (VERSION 1001), changed" in status
    sweep.snakemake()
    receipts = sweep.receipts().values()
    assert sum(r["computed"] for r in receipts) == 6
    assert sum(r["kept"] for r in receipts) == 12


def test_failed_rows_stay_due_and_keep_their_tables(sweep, monkeypatch, tmp_path):
    """Nothing is lost: taken back, the change that failed leaves nothing to do."""

    def broken(text):
        from_errors = "from zooalign.errors import MetricError"
        return f"{text}\n\ndef matrix(x, y, k):\n    {from_errors}\n\n    raise MetricError('it does not work')\n"

    monkeypatch.setenv("PYTHONPATH", edited_library(tmp_path / "library", "jaccard_knn", broken))
    rows = [f"alignment/synthetic/{model['id']}.parquet" for model in sweep.models]
    before = sweep.bytes(*rows, *TABLES)
    sweep.config["metrics"]["jaccard_knn"] = {"k": [5]}
    failed = sweep.snakemake(check=False)
    assert failed.returncode != 0
    assert "jaccard_knn@5 of" in failed.stderr
    assert "it does not work" in failed.stderr
    assert sweep.bytes(*rows, *TABLES) == before
    assert "align_row" in sweep.due()
    del sweep.config["metrics"]["jaccard_knn"]
    assert sweep.due() == {}


def test_two_sweeps_from_scratch_agree_bit_for_bit(finished, sweep):
    shutil.rmtree(sweep.folder / "results")
    shutil.rmtree(sweep.folder / ".snakemake")
    sweep.snakemake()
    assert sweep.bytes(*TABLES) == finished.bytes(*TABLES)
    figures = [f"figures/heat_map_synthetic{suffix}" for suffix in (".svg", ".png")]
    assert sweep.bytes(*figures) == finished.bytes(*figures)


def test_status_names_what_is_missing_before_anything_runs(sweep):
    sweep.models.append(packaged("minilm_l6")[0])
    status = sweep.cli("status").stdout
    assert "missing  weights    minilm_l6: never fetched" in status
    assert "missing  features   minilm_l6 on synthetic: never extracted" in status
    assert "missing  pair       vit_a x minilm_l6 on synthetic, cka" in status
    assert "index of minilm_l6 on synthetic missing" in status


def test_plan_counts_what_snakemake_will_run(sweep):
    sweep.models.append(packaged("minilm_l6")[0])
    due = sweep.due()
    text = sweep.cli("plan", "--local").stdout
    for rule in ("fetch_weights", "extract_features", "index_features", "align_row", "infer_row"):
        assert any(rule in line and f" {due[rule]} " in line for line in text.splitlines()), text
    assert "4 pairs of models to compare" in text


def test_one_failing_model_is_named_and_everything_else_finishes(sweep):
    broken = tiny_vit("vit_broken", 5)
    broken["options"]["architecture"] = "no_such_vit"
    sweep.models += [broken, packaged("minilm_l6")[0]]
    sweep.write()
    # From elsewhere, with a path that is relative to that: the second pass is the same command.
    elsewhere = type(sweep)(sweep.folder.parent / "elsewhere")
    failed = elsewhere.snakemake("--directory", "../checkout", check=False)
    assert failed.returncode != 0
    assert "finishing everything that can be done without them" in failed.stderr
    end = failed.stderr[-4000:]
    assert "FAILED fetch_weights vit_broken: model 'vit_broken': " in end
    assert "no_such_vit" in end
    assert "results/logs/fetch_weights/vit_broken.log" in end
    assert "1 failed. Fix the cause and run the same command again" in end
    # The others' pairs and the tables are made without it, and say what is missing and why.
    assert sweep.receipt("minilm_l6")["computed_pairs"] == 4
    table = (sweep.folder / "results/tables/capability_alignment.csv").read_text()
    (line,) = [line for line in table.splitlines() if line.startswith("vit_broken,")]
    assert "fetch_weights failed: model 'vit_broken': timm cannot make 'no_such_vit'" in line
    status = sweep.cli("status").stdout
    assert "failed   weights    vit_broken: model 'vit_broken': timm cannot make 'no_such_vit'" in status
    # Once fixed, the model runs its own jobs only.
    broken["options"]["architecture"] = "vit_tiny_patch16_224"
    assert sweep.due() == {
        "fetch_weights": 1, "extract_features": 1, "index_features": 1, "align_row": 1, "infer_row": 1,
        "measure_capability": 1, **RESULTS,
    }  # fmt: skip
    sweep.snakemake()
    assert sweep.receipt("vit_broken")["computed_pairs"] == 5
    assert sweep.due() == {}


def test_without_snakemakes_own_records_nothing_changes(sweep):
    """Results that were copied elsewhere, without .snakemake: digests decide all the same."""
    shutil.rmtree(sweep.folder / ".snakemake")
    assert sweep.due() == {}
    sweep.models[0]["pooling"] = "mean"
    assert sweep.due()["extract_features"] == 1
    # And back again, before anything ran.
    sweep.models[0]["pooling"] = "cls"
    assert sweep.due() == {}


def test_an_edit_that_is_taken_back_is_done_again(sweep):
    """The receipt of the first features must not stand for the second ones."""
    before = sweep.bytes(*TABLES)
    sweep.models[0]["pooling"] = "mean"
    sweep.snakemake()
    assert sweep.bytes(*TABLES) != before
    sweep.models[0]["pooling"] = "cls"
    assert sweep.due()["extract_features"] == 1
    sweep.snakemake()
    assert sweep.bytes(*TABLES) == before


def test_a_deleted_store_is_made_again(sweep):
    """As the messages about damaged stores advise."""
    before = sweep.bytes(*TABLES)
    shutil.rmtree(sweep.folder / "results/features/synthetic/vit_a.zarr")
    due = sweep.due()
    assert due.pop("infer_row") == due["align_row"]
    assert due.pop("align_row") == 4 - sum("vit_a" not in str(r["digests"]) for r in sweep.receipts().values())
    assert due == {"extract_features": 1, "index_features": 1, "measure_capability": 1, **RESULTS}
    sweep.snakemake()
    assert sum(sweep.pairs().values()) == 6  # rows look, and have nothing to compute
    assert sweep.bytes(*TABLES) == before
    assert sweep.due() == {}
