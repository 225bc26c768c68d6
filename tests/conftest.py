"""What every test gets: one thread, no hub; the longest files start first."""

import os
from pathlib import Path

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

LONGEST = ("test_end_to_end", "test_cluster", "test_reruns", "test_architectures", "test_lint")


def pytest_addoption(parser):
    parser.addoption(
        "--full", action="store_true", help="every repetition of the random drills, every packaged model end to end"
    )


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of a test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def builds(shared, request):
    """The packaged datasets by name: built by the first test that asks for them."""
    from .built import Builds

    # The packages stay in pytest's own cache: 236 MB that need not come anew for every run.
    return Builds(shared / "datasets", Path(request.config.cache.mkdir("zooalign-debian")))


def pytest_collection_modifyitems(config, items):
    """Leave out repeated drills; start the longest files first, so that workers end at about the same time."""
    repeated = [item for item in items if item.get_closest_marker("repetition")]
    if repeated and not config.getoption("--full"):
        config.hook.pytest_deselected(items=repeated)
        items[:] = [item for item in items if not item.get_closest_marker("repetition")]
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (place.get(item.path.stem, len(LONGEST)), item.path.parent.name != "workflow"))


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
