"""Extraction as jobs of submitit: in this process and as real processes, the same store as the workflow's."""

import numpy as np
import pytest

from zooalign.store import FeatureStore

from .conftest import tiny_vit

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_submitted_extraction_equals_the_workflow(finished, sweep, cluster):
    import shutil

    shutil.rmtree(sweep.folder / "results/features")
    done = sweep.cli("submit", "vit_a", "wordllama", "--dataset", "synthetic", "--cluster", cluster)
    assert done.returncode == 0, done.stderr
    stores = done.stdout.split()[-2:]
    for name, path in zip(["vit_a", "wordllama"], stores, strict=True):
        ours = FeatureStore.open(sweep.folder / path)
        theirs = FeatureStore.open(finished.folder / f"results/features/synthetic/{name}.zarr")
        assert ours.digest == theirs.digest
        assert all(np.array_equal(ours.layer(i), theirs.layer(i)) for i in range(len(ours.widths)))


def test_a_failed_job_names_its_log_and_the_others_finish(sweep):
    broken = tiny_vit("vit_broken", 5)
    broken["options"]["architecture"] = "no_such_vit"
    sweep.models.append(broken)
    done = sweep.cli("submit", "vit_broken", "wordllama", "--dataset", "synthetic", "--cluster", "local")
    assert done.returncode != 0
    assert "1/2 FAILED" in done.stderr
    assert "2/2 done" in done.stderr
    assert "no_such_vit" in done.stderr


def test_unknown_names_are_refused_before_anything_is_submitted(sweep):
    done = sweep.cli("submit", "vit_aa", "--dataset", "synthetic")
    assert done.returncode == 1
    assert "unknown model 'vit_aa': did you mean 'vit_a'" in done.stderr
    done = sweep.cli("submit", "vit_a", "--dataset", "synthetic", "--cluster", "slrm")
    assert "unknown cluster 'slrm': did you mean 'slurm'?" in done.stderr


def test_the_job_that_is_requeued_is_the_same_job():
    import submitit

    from zooalign.submission import Extraction

    job = Extraction(None, None, "m", "d")
    again = job.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function == job
