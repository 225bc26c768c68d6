"""The rule that measures how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.planning import costs
from zooalign.workflow import checks
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Needs, Parts, Rule

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.progress import Report
    from zooalign.workflow.work import Work


class MeasureCapability(Rule):
    """How good a model is."""

    name, wildcards, kind = "measure_capability", ("capability", "model"), "capability"

    def parts(self, work: Work) -> list[Parts]:
        return [(row.id, m.id) for row in work.sweep.config.capabilities for m in work.sweep.measured(row)]

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.capability(*parts)]

    def needs(self, work: Work, *parts: str) -> Needs:
        capability, model = parts
        dataset = work.sweep.capability(capability).dataset
        runs = self.runs_model(work.sweep, parts)
        weights = work.sweep.model(model).weights
        source = ("fetch_weights", (weights,)) if runs else ("extract_features", (dataset, model))
        return [("build_dataset", (dataset,)), source]

    def title(self, parts: Parts) -> str:
        return "{} of {}".format(*parts)

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.capability(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        from zooalign.config.identity import capability_digest

        return {
            "spec": work.sweep.model(parts[1]),
            "capability": work.sweep.capability(parts[0]),
            "digest": capability_digest(work.sweep, *parts),
            "settings": work.extraction(self.name, parts),
            "scratch": work.sweep.config.jobs.scratch,
            **work.common(self.name, parts),
        }

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.capability._runner import measure_capability

        dataset, source = (work.file(*need).parent for need in self.needs(work, *parts))
        path = work.layout.capability(*parts)
        measure_capability(
            dataset_folder=dataset, source_folder=source, path=path, report=report, **self.settings(work, *parts)
        )

    def runs_model(self, sweep: Sweep, parts: Parts) -> bool:
        return costs.kind("capability", sweep.capability(parts[0]).kind).NEEDS != "features"

    def logits_mem_mb(self, sweep: Sweep, parts: Parts) -> int:
        return costs.logits_mem_mb(costs.capability_options(sweep, parts[0]))

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.capability(sweep, parts[0], parts[1], gpu)

    def written(self, work: Work, *parts: str) -> float:
        del work, parts
        return costs.RECORD_BYTES
