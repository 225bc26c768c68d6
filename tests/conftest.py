"""What every test gets: one thread, no hub; the longest files start first."""

import os

# Before any test imports torch: one sleeping thread per process, and no network for model hubs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

LONGEST = ("test_end_to_end", "test_cluster", "test_reruns", "test_datasets_packaged", "test_extraction")


def pytest_collection_modifyitems(items):
    """Start the longest files first, so that two workers end at about the same time."""
    place = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
