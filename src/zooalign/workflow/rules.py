"""The rules of the workflow, one class each: everything that is said about a rule is said here.

A rule is applied to *parts*: (dataset,), (model,), (dataset, model), (capability, model), (table,) or
(figure, dataset). Its script in workflow/scripts hands inputs, outputs and `settings` to one function of the library;
`run` does the same outside Snakemake.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.planning import costs
from zooalign.registry import plugin
from zooalign.workflow import checks, disk
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Needs, Parts, Rule

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


class FetchWeights(Rule):
    """A model's weights: found in a package or cache, hashed, converted once."""

    name, wildcards, kind = "fetch_weights", ("model",), "weights"
    files_written, fetches, whole_folder = 4, True, True

    def parts(self, work: Work) -> list[Parts]:
        return [(name,) for name in work.sweep.weights]

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.weights(*parts) / "weights.json"]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.weights(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"spec": work.sweep.weights[parts[0]], **work.common(self.name, parts)}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.models.loading import fetch_weights

        fetch_weights(folder=work.layout.weights(*parts), report=report, **self.settings(work, *parts))

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.weights(sweep, *parts)

    def written(self, work: Work, *parts: str) -> float:
        return costs.weight_bytes(work.sweep.weights[parts[0]])


class ExtractFeatures(Rule):
    """Every layer of a model in one pass over a dataset."""

    name, wildcards, kind = "extract_features", ("dataset", "model"), "features"
    files_written, whole_folder, decodes_images = 8, True, True

    def parts(self, work: Work) -> list[Parts]:
        probed = [
            (row.dataset, m.id)
            for row in work.sweep.config.capabilities
            if plugin("capability", row.kind, "capability").NEEDS == "features"
            for m in work.sweep.measured(row)
        ]
        return sorted({*work.compared(), *probed})

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.features(*parts) / "zarr.json"]

    def needs(self, work: Work, *parts: str) -> Needs:
        return [("build_dataset", parts[:1]), ("fetch_weights", (work.sweep.model(parts[1]).weights,))]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.features(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {
            "spec": work.sweep.model(parts[1]),
            "settings": work.extraction(self.name, parts),
            "scratch": work.sweep.config.jobs.scratch,
            **work.common(self.name, parts),
        }

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.features.extract import extract_features

        dataset, model = parts
        extract_features(
            weights_folder=work.layout.weights(work.sweep.model(model).weights),
            dataset_folder=work.layout.dataset(dataset),
            path=work.layout.features(dataset, model),
            report=report,
            **self.settings(work, *parts),
        )

    def traces(self, layout: Layout, *parts: str) -> list[Path]:
        from zooalign.features.store import staging_folder

        return [layout.features(*parts), staging_folder(layout.features(*parts))]

    def runs_model(self, sweep: Sweep, parts: Parts) -> bool:
        return True

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.extraction(sweep, parts[0], parts[1], gpu)

    def written(self, work: Work, *parts: str) -> float:
        n = costs.n_samples(work.sweep.dataset(parts[0]))
        return costs.feature_bytes(work.sweep.model(parts[1]), n)


class IndexFeatures(Rule):
    """Neighbour lists and kernels of a model, once for all its pairs."""

    name, wildcards, kind = "index_features", ("dataset", "model"), "index"
    files_written, light, whole_folder = 12, True, True

    def parts(self, work: Work) -> list[Parts]:
        return work.compared()

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.index(*parts) / "zarr.json"]

    def needs(self, work: Work, *parts: str) -> Needs:
        del work
        return [("extract_features", parts)]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.index(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {**work.sweep.index_settings(), **work.common(self.name, parts)}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.indexes.from_features import index_features

        paths = {"store_path": work.layout.features(*parts), "path": work.layout.index(*parts)}
        index_features(**paths, report=report, **self.settings(work, *parts))

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.index(sweep, *parts)

    def written(self, work: Work, *parts: str) -> float:
        n, settings = costs.n_samples(work.sweep.dataset(parts[0])), work.sweep.index_settings()
        return costs.index_bytes(work.sweep.model(parts[1]), n, settings["needs"], settings["k_max"])


class AlignRow(Rule):
    """A model against its partners, pair by pair."""

    name, wildcards, kind = "align_row", ("dataset", "model"), "row"
    files_written, light = 2, True

    def parts(self, work: Work) -> list[Parts]:
        return work.compared()

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.row(*parts)]

    def needs(self, work: Work, *parts: str) -> Needs:
        return [("index_features", (parts[0], m)) for m in work.row_members(*parts)]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.row(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        from zooalign.config.identity import metric_settings

        return {
            "model": parts[1],
            "dataset": parts[0],
            "pairs": work.rows(parts[0])[parts[1]],
            "metrics": metric_settings(work.sweep),
            **work.common(self.name, parts),
        }

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.alignment.row import align_row

        layout = work.layout
        align_row(
            index_paths={m: layout.index(parts[0], m) for m in work.row_members(*parts)},
            table_path=layout.row(*parts),
            receipt_path=layout.receipt(*parts),
            report=report,
            **self.settings(work, *parts),
        )

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.row(sweep, *parts)

    def written(self, work: Work, *parts: str) -> float:
        dataset, spec = parts[0], work.sweep.model(parts[1])
        n, pairs = costs.n_samples(work.sweep.dataset(dataset)), len(work.rows(dataset)[spec.id])
        layer_pairs = costs.n_layers(spec) * 13
        # Layer matrices and terms shrink to about half in the parquet file.
        return 0.5 * pairs * costs.n_settings(work.sweep) * costs.row_line_bytes(layer_pairs, n)


class RemoveWeights(Rule):
    """What was fetched for a model, removed when its last reader has ended (`weights: temp`)."""

    name, wildcards, kind = "remove_weights", ("model",), "removal"
    light, stays_here = True, True

    def parts(self, work: Work) -> list[Parts]:
        if work.sweep.config.weights == "keep":
            return []
        return [item.parts for item in work.items("fetch_weights") if work.sweep.weights[item.parts[0]].download]

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.removed(*parts)]

    def needs(self, work: Work, *parts: str) -> Needs:
        rows = disk.together(work, parts[0])
        return [("fetch_weights", parts), *(item for row in rows for item in work.readers()[row])]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.removal(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"spec": work.sweep.weights[parts[0]]}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.models.removal import remove_weights

        folder, path = work.layout.weights(*parts), work.layout.removed(*parts)
        remove_weights(folder=folder, path=path, report=report, **self.settings(work, *parts))

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.LIGHT_MEM_MB, 1.0

    def written(self, work: Work, *parts: str) -> float:
        return 300.0


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


class _Result(Rule):
    """Base of tables and figures: made from all rows and records."""

    light = gathered = True
    files_written = 3

    def needs(self, work: Work, *parts: str) -> Needs:
        del parts
        return [(i.rule, i.parts) for rule in ("align_row", "measure_capability") for i in work.items(rule)]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.result(work, self.name, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"sweep": work.sweep, "name": parts[0]}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.results.findings import make_result

        needs = {rule: [work.file(r, p) for r, p in self.needs(work, *parts) if r == rule] for rule in
                 ("align_row", "measure_capability")}  # fmt: skip
        make_result(
            row_paths=needs["align_row"],
            capability_paths=needs["measure_capability"],
            files=self.files(work.layout, *parts),
            report=report,
            **self.settings(work, *parts),
        )

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.results(sweep)


class MakeTables(_Result):
    """A table, every file of it."""

    name, wildcards, kind = "make_tables", ("table",), "table"

    def parts(self, work: Work) -> list[Parts]:
        return [(name,) for name in work.sweep.config.tables]

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        # Not with_suffix: a name may have a dot.
        return [Path(f"{layout.table(*parts)}{suffix}") for suffix in plugin("tables", parts[0], "table").SUFFIXES]

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"kind": "tables", **super().settings(work, *parts)}

    def written(self, work: Work, *parts: str) -> float:
        del parts
        return costs.n_lines(work.sweep) * costs.TYPICAL_LINE_BYTES / len(work.sweep.config.tables)


class MakeFigures(_Result):
    """A figure of one dataset, as SVG and PNG."""

    name, wildcards, kind = "make_figures", ("figure", "dataset"), "figure"

    def parts(self, work: Work) -> list[Parts]:
        return [(name, dataset) for name in work.sweep.config.figures for dataset in work.sweep.datasets()]

    def title(self, parts: Parts) -> str:
        return "{} of {}".format(*parts)

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [Path(f"{layout.figure('_'.join(parts))}{suffix}") for suffix in (".svg", ".png")]

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"kind": "figures", "dataset": parts[1], **super().settings(work, *parts)}

    def written(self, work: Work, *parts: str) -> float:
        del work, parts
        return 4e5


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        BuildDataset(),
        FetchWeights(),
        ExtractFeatures(),
        IndexFeatures(),
        AlignRow(),
        MeasureCapability(),
        RemoveWeights(),
        MakeTables(),
        MakeFigures(),
    )
}
