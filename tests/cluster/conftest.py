"""A real SLURM for the tests of this folder, and the sweep on one machine that they compare with."""

import os
import shutil

import pytest

from ..workflow.conftest import Checkout, packaged, tiny_vit
from .checkouts import ClusterCheckout
from .slurm import Slurm, missing, only_one


@pytest.fixture(scope="module")
def slurm():
    """The cluster. Only one runs on a host: a module in another worker, or another test run, waits for its turn."""
    reason = missing()
    if reason and os.environ.get("ZOOALIGN_REQUIRE_CLUSTER") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with only_one():
        cluster = Slurm()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def prepare(checkout):
    """The reduced sweep: three models, every step; a batch per sample, so that there is something to interrupt."""
    checkout.models = [tiny_vit("vit_a", 1), tiny_vit("vit_b", 2), *packaged("wordllama")]
    checkout.config["extraction"] = {"workers": 0, "max_batch": 1}
    return checkout


def copy(checkout, folder, slurm):
    """A checkout on the cluster in which the reduced sweep is done as in another."""
    folder.mkdir(parents=True)
    shutil.copytree(checkout.folder / "results", folder / "results", symlinks=True)
    return prepare(ClusterCheckout(folder, slurm))


@pytest.fixture(scope="session")
def local(tmp_path_factory):
    """The reduced sweep, finished on this machine: never change it."""
    checkout = prepare(Checkout(tmp_path_factory.mktemp("local") / "checkout"))
    checkout.snakemake()
    return checkout


@pytest.fixture
def fresh(slurm, tmp_path):
    """A checkout in which nothing is done."""
    return prepare(ClusterCheckout(tmp_path / "checkout", slurm))


@pytest.fixture
def copied(slurm, local, tmp_path):
    """A checkout in which the reduced sweep is done."""
    return copy(local, tmp_path / "checkout", slurm)
