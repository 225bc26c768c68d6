"""Tasks as jobs of submitit, in this process and as real processes: the same results as the workflow's."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from zooalign.features.store import FeatureStore

from .conftest import RESULTS, tiny_vit

pytestmark = pytest.mark.workflow


def stored(checkout, model):
    store = FeatureStore.open(checkout.folder / f"results/features/synthetic/{model}.zarr")
    return store.digest, [store.layer(i).tobytes() for i in range(len(store.widths))]


def forget(checkout, kind, model):
    """Delete an artefact, whatever it is."""
    for path in (checkout.folder / f"results/{kind}/synthetic").glob(f"{model}.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def submit_logs(checkout):
    return sorted(p.name for p in (checkout.folder / "results/logs/submit").iterdir())


# --- the same results ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_submitted_extraction_equals_the_workflow(finished, sweep, cluster):
    for model in ("vit_a", "wordllama"):
        forget(sweep, "features", model)
    done = sweep.cli("submit", "extract", "vit_a", "wordllama", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"results/features/synthetic/{m}.zarr" for m in ("vit_a", "wordllama")]
    for model in ("vit_a", "wordllama"):
        assert stored(sweep, model) == stored(finished, model)
    assert submit_logs(sweep) == []
    assert sweep.due() == {}


def test_submitted_shards_are_joined_to_what_the_workflow_makes(finished, sweep):
    forget(sweep, "features", "vit_a")
    forget(sweep, "features", "textgenrnn")
    command = ("submit", "extract", "vit_a", "textgenrnn", "--dataset", "synthetic", "--shards", "2")
    done = sweep.cli(*command, "--cluster", "local")
    assert done.returncode == 0, done.stderr
    for model in ("vit_a", "textgenrnn"):
        assert stored(sweep, model) == stored(finished, model)
    features = sweep.folder / "results/features/synthetic"
    assert sorted(p.name for p in features.iterdir()) == [
        "textgenrnn.zarr", "vit_a.zarr", "vit_b.zarr", "wordllama.zarr",
    ]  # fmt: skip
    assert sweep.due() == {}
    # Nothing is left to do for any part of it, and nothing is done.
    before = (features / "vit_a.zarr/zarr.json").stat().st_mtime_ns
    assert sweep.cli(*command, "--cluster", "debug").returncode == 0
    assert (features / "vit_a.zarr/zarr.json").stat().st_mtime_ns == before


def test_joining_does_not_extract_again(sweep):
    """The store is that of the shards, whose rows were read by two processes."""
    forget(sweep, "features", "vit_a")
    log = sweep.folder / "results/logs/extract_features/synthetic/vit_a.log"
    log.unlink()
    command = ("submit", "extract", "vit_a", "--dataset", "synthetic", "--shards", "2", "--cluster", "debug")
    assert sweep.cli(*command, "--keep-shards").returncode == 0
    assert not log.exists()
    assert sweep.due() == {}
    shards = sweep.folder / "results/features/synthetic/vit_a.zarr.shards"
    assert sorted(p.name for p in shards.iterdir()) == ["1-of-2.zarr", "2-of-2.zarr"]
    merged = sweep.cli("store", "merge", "results/features/synthetic/vit_a.zarr")
    assert merged.returncode == 0, merged.stderr
    assert "is merged already" in merged.stderr
    merged = sweep.cli("store", "merge", "--model", "vit_a", "--dataset", "synthetic", "--remove")
    assert merged.returncode == 0, merged.stderr
    assert not shards.exists()


def lines(checkout, model):
    table = pq.read_table(checkout.folder / f"results/alignment/synthetic/{model}.parquet").to_pylist()
    return sorted(table, key=lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"]))


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_submitted_rows_make_what_is_missing_and_equal_the_workflow(sweep, tmp_path, cluster):
    """Two new models, whose rows share features that are not there yet."""
    sweep.models += [tiny_vit("vit_c", 3), tiny_vit("vit_d", 4)]
    other = type(sweep)(tmp_path / "other")
    shutil.copytree(sweep.folder, other.folder, symlinks=True)
    other.models = sweep.models
    other.snakemake()
    done = sweep.cli("submit", "align", "vit_c", "vit_d", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    both = [line for m in ("vit_c", "vit_d") for line in lines(sweep, m)]
    theirs = [line for m in ("vit_c", "vit_d") for line in lines(other, m)]
    key = lambda line: (line["model_x"], line["model_y"], line["metric"], line["k"])  # noqa: E731
    assert len(both) == 9 * 3
    # Which of the two rows holds their pair depends on which came first.
    assert sorted(both, key=key) == sorted(theirs, key=key)
    # What is left are nulls and intervals, capabilities, and results.
    assert sweep.due() == {"infer_row": 2, "measure_capability": 2, **RESULTS}


def test_submitted_scores_equal_zooalign_score(sweep):
    features = "results/features/synthetic"
    options = ("--metric", "mutual_knn,cka", "--k", "5,10", "--null", "20", "--splits", "20", "--seed", "3")
    others = [f"{features}/vit_b.zarr", f"{features}/wordllama.zarr"]
    done = sweep.cli("submit", "score", f"{features}/vit_a.zarr", *others, *options, "--cluster", "local")
    assert done.returncode == 0, done.stderr
    folder = sweep.folder / "results/scores"
    for name in ("vit_b", "wordllama"):
        direct = sweep.cli("score", f"{features}/vit_a.zarr", f"{features}/{name}.zarr", *options, "--json", "d.json")
        assert direct.returncode == 0, direct.stderr
        found = (folder / f"vit_a--{name}.json").read_text()
        assert found == (sweep.folder / "d.json").read_text()
        best = json.loads(found)["best"]["cka"]["score"]
        assert f"vit_a--{name}.json: mutual_knn@5" in done.stdout
        assert f"cka {best:.4f}" in done.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["vit_a--vit_b.json", "vit_a--wordllama.json"]


def test_scores_need_no_configuration(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("x", "y"):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((50, 8)).astype(np.float32))
    command = [sys.executable, "-m", "zooalign.cli", "submit", "score", "x.npy", "y.npy", "--cluster", "debug"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/scores/x--y.json").exists()


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_a_failed_job_names_its_log_and_the_others_finish(finished, sweep, cluster):
    broken = tiny_vit("vit_broken", 5)
    broken["options"]["architecture"] = "no_such_vit"
    sweep.models.append(broken)
    forget(sweep, "features", "wordllama")
    sweep.config["jobs"] = {"fetch_on": "cluster"}  # so that the job does what fails
    done = sweep.cli("submit", "extract", "vit_broken", "wordllama", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 1
    assert done.stdout.split() == ["results/features/synthetic/wordllama.zarr"]
    assert stored(sweep, "wordllama") == stored(finished, "wordllama")
    end = done.stderr[done.stderr.index("zooalign: 1 of 2 jobs failed") :]
    assert "no_such_vit" in end
    assert "(log: results/logs/" in end
    assert "Traceback" not in end
    if cluster == "local":
        number = end.split("job ")[1].split()[0]
        assert number.isdigit()
        # The failed job's own log stays; pickles do not.
        assert submit_logs(sweep) == [f"{number}_0_log.out"]


def test_unknown_names_are_refused_before_anything_is_submitted(sweep):
    for arguments, said in [
        (("extract", "vit_aa", "--dataset", "synthetic"), "unknown model 'vit_aa': did you mean 'vit_a'"),
        (("align", "vit_a", "--dataset", "synthetik"), "unknown dataset 'synthetik': did you mean 'synthetic'"),
        (("align", "vit_a", "--dataset", "digits"), "dataset 'digits' is not compared in this sweep"),
        (("extract", "vit_a", "--dataset", "synthetic", "--cluster", "slrm"), "did you mean 'slurm'?"),
        (("score", "a.npy", "b.npy"), "a.npy: no such file or store"),
    ]:
        done = sweep.cli("submit", *arguments)
        assert done.returncode == 1, done.stderr
        assert said in done.stderr
        assert not (sweep.folder / "results/logs/submit").exists()


def test_leaving_with_more_jobs_than_may_run_is_refused(sweep):
    done = sweep.cli("submit", "extract", "vit_a", "vit_b", "--dataset", "synthetic", "--cluster", "local",
                     "--max-jobs", "1", "--no-wait")  # fmt: skip
    assert done.returncode == 1
    assert "2 jobs, and at most 1 at a time" in done.stderr
