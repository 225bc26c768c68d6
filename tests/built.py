"""The packaged datasets, built once for all tests of a run; and whether two builds are the same."""

from __future__ import annotations

from pathlib import Path

from zooalign.config.manifest import DatasetSpec
from zooalign.data.build import build_dataset
from zooalign.data.samples import Samples


class Builds:
    """Builds each dataset at most once; of two workers that want one at a time, one waits."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root, self.cache = root, cache
        self.done: dict[str, Samples] = {}

    def build(self, name: str, where: str) -> Samples:
        """A dataset in a folder of its own."""
        options = {"cache": str(self.cache)} if name == "pictures" else {}
        spec = DatasetSpec(id=name, family=name, options=options)
        return build_dataset(spec, self.root / where / name, lambda line: None)

    def __getitem__(self, name: str) -> Samples:
        if name not in self.done:
            self.done[name] = self.build(name, "first")
        return self.done[name]


def assert_same_bytes(first: Path, second: Path) -> None:
    """Two folders have the same files with the same bytes."""
    names = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert [n for n in names if (first / n).read_bytes() != (second / n).read_bytes()] == []
