"""What a sweep found, as tables and figures take it: alignment, capability, models, and the headline metric."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.config.identity import result_digest
from zooalign.config.sweep import Sweep
from zooalign.errors import StoreError
from zooalign.layout import Layout
from zooalign.progress import Report
from zooalign.provenance import file_sha256, package_versions, read_object, stamp
from zooalign.registry import plugin
from zooalign.results.means import ShownAlignment
from zooalign.results.publishing import Header, publish
from zooalign.results.sensitivity import cell_frames, preparation_of
from zooalign.storage.atomic import write_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from zooalign.data.samples import Samples
    from zooalign.results.read import Documents

VERSION = 1  # part of the digest of what this module determines


def _stored(path: Path) -> dict[str, Any]:
    """A receipt or record, which a table is made from although it does not read what it is of."""
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{path}: cannot be read ({reason}). Run the sweep again, which makes it.", path) from error


def _receipts(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Digests by dataset and name, as the receipts beside these rows list them."""
    digests: dict[str, dict[str, str]] = {}
    for path in paths:
        receipt = _stored(path.with_name(f"{path.stem}.receipt.json"))
        digests.setdefault(receipt["dataset"], {}).update(receipt["digests"])
    return digests


@dataclass(frozen=True)
class Findings:
    """Everything that tables and figures are made from.

    Attributes
    ----------
    sweep : Sweep
        The checked configuration.
    row_paths : tuple of Path
        Rows of the alignment matrix (parquet).
    capability_paths : tuple of Path
        Capability records (JSON).
    inference_paths : tuple of Path
        Nulls and intervals of the rows (parquet); none where the configuration asks for none.
    sensitivity_paths : tuple of Path
        Rows of the sensitivity's preparations, for what declares READS_SENSITIVITY.
    """

    sweep: Sweep
    row_paths: tuple[Path, ...]
    capability_paths: tuple[Path, ...]
    inference_paths: tuple[Path, ...] = ()
    sensitivity_paths: tuple[Path, ...] = ()

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return Layout(Path(self.sweep.config.results))

    @cached_property
    def header(self) -> Header:
        """What stands above every table: the answer, and what the numbers depend on."""
        from zooalign.results.answer import sentences
        from zooalign.results.header import settings

        return Header(sentences(self), settings(self))

    @cached_property
    def _inputs(self) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, dict[str, str]]]:
        """Digests of scores by dataset and name, of capability values, and of nulls and intervals as of scores."""
        records = [_stored(path) for path in self.capability_paths]
        values = {f"{r['capability']}/{r['model']}": r["digest"] for r in records}
        return _receipts(self.row_paths), values, _receipts(self.inference_paths)

    def digest(self, kind: str, name: str) -> str:
        """Digest of what determines a table or figure of that name, as the rows and records say."""
        reads = getattr(plugin(kind, name, kind.removesuffix("s")), "READS_SENSITIVITY", False)
        return result_digest(self.sweep, kind, name, *self._inputs, self._cells if reads else None)

    @cached_property
    def _cells(self) -> dict[str, dict[str, str]]:
        """Digests of scores by "preparation/dataset" and name."""
        scores: dict[str, dict[str, str]] = {}
        for path in self.sensitivity_paths:
            receipt = _stored(path.with_name(f"{path.stem}.receipt.json"))
            scores.setdefault(f"{preparation_of(path)}/{receipt['dataset']}", {}).update(receipt["digests"])
        return scores

    @cached_property
    def cells(self) -> dict[str, pd.DataFrame]:
        """Alignment by cell id, with the columns of `alignment`: what `results.sensitivity.follow` takes."""
        return cell_frames(self.sweep.cells, self.alignment, self.sensitivity_paths)

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return self.sweep.config.headline.metric

    @property
    def k(self) -> int:
        """Its k; 0 where it takes none."""
        return self.sweep.config.headline.k or 0

    @property
    def symmetric(self) -> bool:
        """Whether it gives the same score both ways."""
        return plugin("metrics", self.metric, "metric").SYMMETRIC

    @property
    def shown(self) -> ShownAlignment:
        """Which alignment tables show."""
        return ShownAlignment(
            metric=self.metric, k=self.k, datasets=self.sweep.datasets()
        )

    @cached_property
    def alignment(self) -> pd.DataFrame:
        """One line per pair, dataset, metric and k, without layer matrices and terms."""
        import pandas as pd

        from zooalign.results.read import no_rows, read_light_rows

        parts = [read_light_rows(path) for path in self.row_paths]
        # An empty part would change the types of columns.
        whole = [part for part in parts if len(part)] or [*parts[:1], no_rows()][:1]
        return pd.concat(whole, ignore_index=True)

    def matrices(self, dataset: str, metric: str, k: int, comparison: str) -> dict[tuple[str, str], np.ndarray]:
        """Scores of all layer pairs, (layers of x, layers of y) each, by pair of models (float32; k = 0 for none)."""
        from zooalign.results.read import read_arrays

        layers = {(x, y): shape for x, y, *shape in self._shapes(dataset, metric, k, comparison)}
        flat = read_arrays(self._rows_of(dataset), "matrix", metric, k, comparison)
        return {pair: values.reshape(layers[pair]) for pair, values in flat.items()}

    def terms(self, dataset: str, metric: str, k: int, comparison: str) -> dict[tuple[str, str], np.ndarray]:
        """What each sample adds to the score at the best layers, (samples,) each, by pair of models.

        Empty for a metric that is no mean over samples.
        """
        from zooalign.results.read import read_arrays

        return read_arrays(self._rows_of(dataset), "terms", metric, k, comparison)

    def arrays_of(
        self, dataset: str, column: str, wanted: Collection[str]
    ) -> Iterator[dict[tuple[str, str, str], dict[tuple[str, int], np.ndarray]]]:
        """Layer scores ("matrix") or terms ("terms") under some metrics, flat, by (comparison, x, y), then (metric, k).

        One dict per row file: a pair has all its metrics in one file, and only one file is in memory.
        """
        from zooalign.results.read import read_metrics

        for path in self._rows_of(dataset):
            table = read_metrics(path, column, wanted)
            lists = table[column].combine_chunks()
            values, ends = lists.values.to_numpy(), lists.offsets.to_numpy()
            names = [table[name].to_pylist() for name in ("comparison", "model_x", "model_y", "metric", "k")]
            found: dict[tuple[str, str, str], dict[tuple[str, int], np.ndarray]] = {}
            for i, (comparison, x, y, metric, k) in enumerate(zip(*names, strict=True)):
                found.setdefault((comparison, x, y), {})[metric, k] = values[ends[i] : ends[i + 1]]
            yield found

    def _rows_of(self, dataset: str) -> list[Path]:
        return [path for path in self.row_paths if path.parent.name == dataset]

    def _shapes(self, dataset: str, metric: str, k: int, comparison: str) -> Iterable[tuple[str, str, int, int]]:
        rows = self.alignment
        rows = rows[(rows["dataset"] == dataset) & (rows["metric"] == metric) & (rows["k"] == k)]
        rows = rows[rows["comparison"] == comparison]
        return zip(*(rows[name] for name in ("model_x", "model_y", "n_layers_x", "n_layers_y")), strict=True)

    def sample_groups(self, dataset: str) -> np.ndarray | None:
        """Group of each sample as a number, (samples,); None where every sample is one of its own, or none is stored."""
        import numpy as np

        if not self.sweep.config.inference.groups or not self.layout.dataset(dataset).exists():
            return None
        groups = self.samples(dataset).groups
        if not any(group is not None for group in groups):
            return None
        names = [f"sample {i}" if group is None else f"group {group}" for i, group in enumerate(groups)]
        return np.unique(names, return_inverse=True)[1]

    def standard_errors(self, dataset: str, metric: str, k: int) -> dict[tuple[str, str], float]:
        """Standard error of the score of each ordered pair of models, where an interval was computed (k = 0 for none)."""
        from zooalign.results.frames import where
        from zooalign.results.means import scores

        rows = where(where(where(self.inference, "dataset", dataset), "metric", metric), "k", k)
        known = rows.dropna(subset=["standard_error"])
        return scores(known.assign(score=known["standard_error"]))

    def samples(self, dataset: str) -> Samples:
        """The samples of a dataset, in the order of the terms."""
        from zooalign.data.samples import open_samples

        return open_samples(self.layout.dataset(dataset))

    @cached_property
    def inference(self) -> pd.DataFrame:
        """Null and interval of every pair, dataset, metric and k that has one, as `read_inference` gives them."""
        from zooalign.results.inference import read_inference

        return read_inference(self.inference_paths)

    @cached_property
    def capability(self) -> pd.DataFrame:
        """One line per capability and model, what was measured elsewhere included."""
        import pandas as pd

        from zooalign.results.read import CAPABILITY_COLUMNS

        frame = pd.DataFrame(self._capability, columns=list(CAPABILITY_COLUMNS)).astype(CAPABILITY_COLUMNS)
        return frame.sort_values(["capability", "model"], kind="stable", ignore_index=True)

    @cached_property
    def _capability(self) -> list[dict[str, Any]]:
        from zooalign.results.external import join
        from zooalign.results.read import read_capability

        own = read_capability(self.capability_paths).to_dict(orient="records")
        return join(own, self.sweep.external, self.sweep.config.capability_sources)

    @property
    def sources(self) -> dict[tuple[str, str], str]:
        """Where the value of a capability and model is from: "measured", or the source of the user's file."""
        return {(row["capability"], row["model"]): row["source"] for row in self._capability}

    @cached_property
    def documents(self) -> dict[tuple[str, str], Documents]:
        """Documents that a capability of a model was measured on, where its record lists them."""
        from zooalign.results.read import read_documents

        return read_documents(self.capability_paths)

    def elsewhere(self) -> dict[str, int]:
        """Number of values that were measured elsewhere, by source and capability ("leaderboard: gsm8k")."""
        return dict(sorted(Counter(f"{e.source}: {e.capability}" for e in self.sweep.external).items()))

    @cached_property
    def models(self) -> pd.DataFrame:
        """One line per model: id, modality, family, objective, causal, control, intervention ("" for none), imported."""
        import pandas as pd

        columns = ("id", "modality", "family", "objective", "causal", "control")
        rows = [[*(getattr(m, c) for c in columns), str(m.intervention or ""), m.imported] for m in self.sweep.models]
        return pd.DataFrame(rows, columns=[*columns, "intervention", "imported"])


def make_result(
    sweep: Sweep,
    kind: str,
    name: str,
    row_paths: Iterable[Path],
    capability_paths: Iterable[Path],
    files: Sequence[Path],
    report: Report,
    dataset: str = "",
    inference_paths: Iterable[Path] = (),
    sensitivity_paths: Iterable[Path] = (),
) -> None:
    """Write a table, or a figure of a dataset, and beside it what it was made from.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    kind : str
        "tables" or "figures".
    name : str
        File of that room.
    row_paths, capability_paths, inference_paths, sensitivity_paths : iterable of path
        As in `Findings`.
    files : sequence of path
        What is written, equal but for the suffix.
    dataset : str
        Dataset that a figure shows.
    """
    given = (row_paths, capability_paths, inference_paths, sensitivity_paths)
    paths = (tuple(map(Path, some)) for some in given)
    findings = Findings(sweep, *paths)
    files = [Path(file) for file in files]
    stem = Path(str(files[0]).removesuffix(files[0].suffix))
    if kind == "tables":
        publish(plugin("tables", name, "table").table(findings), findings.header, stem)
    else:
        plugin("figures", name, "figure").draw(findings, dataset, stem)
    record_result(findings, kind, name, files)
    report(f"wrote {', '.join(map(str, files))}")


def record_result(findings: Findings, kind: str, name: str, files: Sequence[Path]) -> None:
    """Record beside a table, a figure or the report what it was made from, and its files as they were written."""
    about = {file.name: [file.stat().st_size, file_sha256(file)] for file in files}
    packages = ("zooalign", "numpy", "pandas", "pyarrow", "plotly" if kind == "report" else "matplotlib")
    record = {"digest": findings.digest(kind, name), "files": about, "stamp": stamp(),
              "versions": package_versions(packages)}  # fmt: skip
    write_json(_record(files), record)


def _record(files: Sequence[Path]) -> Path:
    """Where it is recorded what files of a table, a figure or the report were made from."""
    first = files[0]
    return first.parent / "provenance" / f"{first.name.removesuffix(first.suffix)}.json"


def recorded_digest(files: Sequence[Path]) -> str | None:
    """Digest of what the files of a table or figure were made from, if that is recorded."""
    try:
        return json.loads(_record(files).read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_recorded(files: Sequence[Path]) -> bool:
    """Whether the files of a table or figure are as they were written."""
    try:
        about = json.loads(_record(files).read_bytes())["files"]
        return all(about[file.name] == [file.stat().st_size, file_sha256(file)] for file in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False
