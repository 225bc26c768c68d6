"""The rule that compares a model with its partners."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.planning import costs
from zooalign.workflow import checks
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Needs, Parts, Rule, place

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.progress import Report
    from zooalign.workflow.work import Work


class AlignRow(Rule):
    """A model against its partners, pair by pair."""

    name, wildcards, kind = "align_row", ("dataset", "model"), "row"
    files_written, light = 2, True

    def parts(self, work: Work) -> list[Parts]:
        return work.compared()

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.row(*place(parts))]

    def needs(self, work: Work, *parts: str) -> Needs:
        dataset, _, *preparation = place(parts)
        return [work.index_item(dataset, m, *preparation) for m in work.row_members(*place(parts))]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.row(work, *place(parts))

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        from zooalign.config.identity import metric_settings

        dataset, model, *preparation = place(parts)
        return {
            "model": model,
            "dataset": dataset,
            "pairs": work.rows(dataset, *preparation)[model],
            "metrics": metric_settings(work.sweep, *preparation),
            **work.common(self.name, parts),
        }

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.alignment.row import align_row

        layout = work.layout
        align_row(
            index_paths={need[1][-1]: work.file(*need).parent for need in self.needs(work, *parts)},
            table_path=layout.row(*place(parts)),
            receipt_path=layout.receipt(*place(parts)),
            report=report,
            **self.settings(work, *parts),
        )

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.row(sweep, *place(parts))

    def written(self, work: Work, *parts: str) -> float:
        dataset, model, *preparation = place(parts)
        n, pairs = costs.n_samples(work.sweep.dataset(dataset)), len(work.rows(dataset, *preparation)[model])
        layer_pairs = costs.n_layers(work.sweep.model(model)) * 13
        # Layer matrices and terms shrink to about half in the parquet file.
        return 0.5 * pairs * costs.n_settings(work.sweep, *preparation) * costs.row_line_bytes(layer_pairs, n)

    def share(self, work: Work, parts: Parts) -> float:
        """Part of a model's possible pairs that its own row holds."""
        dataset, model, *preparation = place(parts)
        partners = len(costs.partners(work.sweep, dataset, work.sweep.model(model), *preparation))
        return len(work.rows(dataset, *preparation)[model]) / partners if partners else 1.0
