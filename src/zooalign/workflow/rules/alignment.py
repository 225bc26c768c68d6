"""The rules that compare a model with its partners, and say how real and how exact the scores are."""

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
            "metrics": metric_settings(work.sweep, dataset, *preparation),
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


class InferRow(Rule):
    """Nulls and intervals of a model against its partners, pair by pair."""

    name, wildcards, kind = "infer_row", ("dataset", "model"), "inference"
    files_written, light = 2, True

    def parts(self, work: Work) -> list[Parts]:
        inference = work.sweep.config.inference
        return [] if inference.null == inference.intervals == "none" else work.compared()

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.inference(*parts)]

    def needs(self, work: Work, *parts: str) -> Needs:
        members = work.row_members(*parts)
        grouped: Needs = [("build_dataset", parts[:1])] if members and work.sweep.config.inference.groups else []
        return [*grouped, *(("index_features", (parts[0], m)) for m in members)]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.inference(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        from zooalign.config.identity import inference_settings

        return {
            "model": parts[1],
            "dataset": parts[0],
            "pairs": work.rows(parts[0])[parts[1]],
            "metrics": inference_settings(work.sweep, parts[0]),
            "inference": work.sweep.config.inference.model_dump(),
            **work.common(self.name, parts),
        }

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.alignment.infer_row import infer_row

        layout = work.layout
        needed = {rule for rule, _ in self.needs(work, *parts)}
        infer_row(
            index_paths={m: layout.index(parts[0], m) for m in work.row_members(*parts)},
            dataset_folder=layout.dataset(parts[0]) if "build_dataset" in needed else None,
            table_path=layout.inference(*parts),
            receipt_path=layout.inference_receipt(*parts),
            report=report,
            **self.settings(work, *parts),
        )

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.inference(sweep, *parts)

    def written(self, work: Work, *parts: str) -> float:
        lines = len(work.rows(parts[0])[parts[1]]) * len(costs.inferred(work.sweep))
        return costs.INFERENCE_FILE_BYTES + costs.INFERENCE_LINE_BYTES * lines

    def share(self, work: Work, parts: Parts) -> float:
        """As of `AlignRow`."""
        return AlignRow().share(work, parts)
