"""Rules about datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.planning import costs
from zooalign.workflow import checks
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Parts, Rule

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.progress import Report
    from zooalign.workflow.work import Work


class BuildDataset(Rule):
    """Samples in a fixed order, texts, groups, licences."""

    name, wildcards, kind = "build_dataset", ("dataset",), "dataset"
    files_written, fetches, whole_folder = 7, True, True

    def parts(self, work: Work) -> list[Parts]:
        return [(name,) for name in work.sweep.datasets_read()]

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.dataset(*parts) / "dataset.json"]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.dataset(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"spec": work.sweep.dataset(*parts), **work.common(self.name, parts)}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.data.build import build_dataset

        build_dataset(folder=work.layout.dataset(*parts), report=report, **self.settings(work, *parts))

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.dataset(sweep, *parts)

    def written(self, work: Work, *parts: str) -> float:
        return costs.SAMPLE_BYTES * costs.n_samples(work.sweep.dataset(*parts))
