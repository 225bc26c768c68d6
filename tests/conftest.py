"""What every test gets: one thread, no hub; the longest files start first."""

import os

import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("zooalign", deadline=None)
settings.load_profile("zooalign")

# Before any test imports torch: one sleeping thread per process, and no network for model hubs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

LONGEST = ("test_end_to_end", "test_cluster", "test_reruns", "test_datasets_packaged", "test_features_extract")


def pytest_collection_modifyitems(items):
    """Start the longest files first, so that two workers end at about the same time."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the cluster tests of all files in one worker: only one SLURM runs on a host, and the other would wait."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "tests/cluster" if nodeid.startswith("tests/cluster/") else super()._split_scope(nodeid)

    return Scheduler(config, log)
