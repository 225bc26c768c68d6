"""What can be submitted: small picklable tasks that know what they do, what they need, and how to go on later.

A task calls the same functions as the workflow, item by item, with the same logs; so what one of them
has made the other finds done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zooalign.config.sweep import Sweep
from zooalign.layout import Layout
from zooalign.progress import Report
from zooalign.submit.task import Task, TaskError, run_logged
from zooalign.workflow.work import Item, Work

# Merging, and scores of stored features: what Python and its libraries take before any data.
_BASE_MEM_MB = 1500
_FLOOR_MIN = 30
_MERGE_MB_PER_S = 20  # of a busy shared file system, reading and writing


@dataclass(frozen=True)
class _OnModel(Task):
    """A task on one model and one dataset of a sweep.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    model, dataset : str
        Ids.
    """

    sweep: Sweep
    layout: Layout
    model: str
    dataset: str

    @property
    def results(self) -> Path:
        """Results folder of the sweep."""
        return self.layout.results

    @property
    def parts(self) -> tuple[str, str]:
        """What the rules are applied to."""
        return self.dataset, self.model

    def prepare(self, report: Report) -> None:
        """Weights and dataset, unless config.yaml has them fetched by jobs."""
        if self.sweep.config.jobs.fetch_on == "controller":
            self._fetch(self._work())

    def _work(self) -> Work:
        return Work(self.sweep, self.layout)

    def _fetch(self, work: Work) -> None:
        """Build the dataset and fetch weights of every model that is going to run."""
        due = [m for m in self._models(work) if not work.is_done(Item("extract_features", (self.dataset, m)))]
        if due:
            self._do(work, "build_dataset", self.dataset)
        for model in due:
            self._do(work, "fetch_weights", self.sweep.model(model).weights)

    def _models(self, work: Work) -> list[str]:
        """Models whose features the task reads or makes."""
        del work
        return [self.model]

    def _do(self, work: Work, rule: str, *parts: str) -> None:
        """One item with its log, unless it is done."""
        from zooalign.workflow.failures import reason

        item = Item(rule, parts)
        if work.is_done(item):
            return
        try:
            run_logged(
                self.layout.log(rule, *parts),
                f"{rule} {item.name}",
                lambda report: work.do(item, report),
            )
        except TaskError:
            raise TaskError(f"{rule} {item.name}: {reason(work, item)}") from None


@dataclass(frozen=True)
class Extraction(_OnModel):
    """Features of one model on one dataset; parameters as `_OnModel`. Requeued it continues after its last batch."""

    def _title(self) -> str:
        return f"extract_features {self.model} on {self.dataset}"

    def _log(self) -> Path:
        return self.layout.log("extract_features", *self.parts)

    def _needs(self, cluster: bool) -> dict[str, int | str]:
        from zooalign.workflow.resources import job_resources

        return job_resources(self.sweep, "extract_features", self.parts, 1, cluster)

    def __call__(self) -> str:
        """Do what is missing; return the path of the store."""
        work = self._work()
        if self.sweep.config.jobs.fetch_on == "cluster":
            self._fetch(work)
        self._do(work, "extract_features", *self.parts)
        return str(self.layout.features(*self.parts))


@dataclass(frozen=True)
class ShardExtraction(_OnModel):
    """One shard of the features of one model on one dataset. Requeued it continues after its last whole batch.

    Parameters
    ----------
    sweep, layout, model, dataset
        As `Extraction`.
    index, of : int
        Which shard, 1 <= index <= of, and how many there are.
    """

    index: int
    of: int

    def _title(self) -> str:
        return f"extract_features {self.model} on {self.dataset}, shard {self.index} of {self.of}"

    def _log(self) -> Path:
        return self.layout.log("extract_features", self.dataset, f"{self.model}.{self.index}-of-{self.of}")

    def _needs(self, cluster: bool) -> dict[str, int | str]:
        from zooalign.workflow.resources import job_resources

        asked = job_resources(self.sweep, "extract_features", self.parts, 1, cluster)
        return {**asked, "runtime": max(_FLOOR_MIN, int(asked["runtime"]) // self.of)}

    def __call__(self) -> str:
        """Do what is missing; return the path of the shard's store."""
        from zooalign.features.extract import extract_features
        from zooalign.features.shards import Shard
        from zooalign.workflow.resources import device_of

        work, shard = self._work(), Shard(self.index, self.of)
        if self.sweep.config.jobs.fetch_on == "cluster":
            self._fetch(work)
        device = device_of(self.sweep, "extract_features", self.parts)
        jobs = self.sweep.config.jobs
        path = shard.path(self.layout.features(*self.parts))
        run_logged(
            self.log,
            self.title,
            lambda report: extract_features(
                self.sweep.model(self.model),
                self.layout.weights(self.sweep.model(self.model).weights),
                self.layout.dataset(self.dataset),
                path,
                self.sweep.config.extraction.model_copy(update={"device": device}),
                report,
                shard,
                scratch=jobs.scratch,
                lease_timeout_s=jobs.lease_timeout_s,
            ),
        )
        return str(path)


@dataclass(frozen=True)
class Merge(_OnModel):
    """Shards of one model on one dataset joined into its store. Requeued it continues after its last whole chunk.

    Parameters
    ----------
    sweep, layout, model, dataset
        As `Extraction`.
    remove : bool
        Whether to remove the shards once the store was read back and found equal to them.
    of : int, optional
        How many shards there are; None: those that lie there.
    """

    remove: bool = False
    of: int | None = None

    def _title(self) -> str:
        return f"merge shards of {self.model} on {self.dataset}"

    def _log(self) -> Path:
        return self.layout.log("extract_features", self.dataset, f"{self.model}.merge")

    def prepare(self, report: Report) -> None:
        """Nothing: shards are there."""

    def _needs(self, cluster: bool) -> dict[str, int | str]:
        del cluster
        files = [f for shard in self._shards() for f in shard.rglob("*")]
        mb = sum(f.stat().st_size for f in files if f.is_file()) / 2**20
        # Read and written once, read twice more to compare; three chunks, and ids several times over.
        minutes = 4 * mb / _MERGE_MB_PER_S / 60
        return {"mem_mb": _BASE_MEM_MB + 1000, "runtime": max(_FLOOR_MIN, round(minutes)), "cpus_per_task": 1}

    def __call__(self) -> str:
        """Join them, unless that is done; return the path of the store."""
        whole = self.layout.features(*self.parts)
        work = self._work()
        if self._shards() or not work.is_done(Item("extract_features", self.parts)):
            run_logged(self.log, self.title, self._merge)
        return str(whole)

    def _merge(self, report: Report) -> None:
        from zooalign.features.merge import merge_shards
        from zooalign.features.shards import Shard
        from zooalign.storage.visibility import wait_until_visible

        whole = self.layout.features(*self.parts)
        expected = [Shard(i, self.of).path(whole) for i in range(1, self.of + 1)] if self.of else []
        wait_until_visible([shard / "zarr.json" for shard in expected], report)
        merge_shards(self._shards(), whole, report, self.remove, self.sweep.config.jobs.lease_timeout_s)

    def _shards(self) -> list[Path]:
        from zooalign.features.shards import find_shards

        return find_shards(self.layout.features(*self.parts), self.of)


@dataclass(frozen=True)
class Row(_OnModel):
    """One model against its partners. Features and indexes that are missing are made first, by the same job.

    Requeued it continues with the item it was at: after the last whole batch, or the last saved pairs.

    Parameters
    ----------
    sweep, layout, model, dataset
        As `Extraction`.
    """

    def _title(self) -> str:
        return f"align_row {self.model} on {self.dataset}"

    def _log(self) -> Path:
        return self.layout.log("align_row", *self.parts)

    def _models(self, work: Work) -> list[str]:
        return work.row_members(*self.parts)

    def _missing(self, work: Work) -> list[tuple[str, str, str]]:
        """(rule, dataset, model) of features and indexes that are not there yet."""
        return [
            (rule, self.dataset, member)
            for member in self._models(work)
            for rule in ("extract_features", "index_features")
            if not work.is_done(Item(rule, (self.dataset, member)))
        ]

    def _needs(self, cluster: bool) -> dict[str, int | str]:
        from zooalign.workflow.resources import job_resources

        due = [*self._missing(self._work()), ("align_row", *self.parts)]
        asked = [job_resources(self.sweep, rule, tuple(parts), 1, cluster) for rule, *parts in due]
        total = {key: value for one in asked for key, value in one.items() if isinstance(value, str)}
        largest = {key: max(int(one.get(key, 0)) for one in asked) for key in ("mem_mb", "cpus_per_task", "gpu")}
        return {**total, **largest, "runtime": sum(int(one["runtime"]) for one in asked)}

    def __call__(self) -> str:
        """Do what is missing; return the path of the row."""
        work = self._work()
        if self.sweep.config.jobs.fetch_on == "cluster":
            self._fetch(work)
        left = self._missing(work)
        while left:
            # Jobs of several rows share what is missing: none waits for another's while it has work of its own. That
            # a lease record is there (zooalign.storage.lease) is enough to put an item off.
            stores = {m: self.layout.features(*m[1:]) for m in left}
            free = [m for m in left if not stores[m].with_name(f"{stores[m].name}.lease").exists()]
            chosen = (free or left)[0]
            for step in [m for m in left if m[1:] == chosen[1:]]:
                self._do(work, *step)
            left = [m for m in left if m[1:] != chosen[1:]]
        self._do(work, "align_row", *self.parts)
        return str(self.layout.row(*self.parts))


@dataclass(frozen=True)
class Score(Task):
    """Scores of two models, as `zooalign score`. Requeued it keeps the permutations that it had finished.

    Parameters
    ----------
    x, y : str
        Files or stores.
    json_file : Path
        What it writes.
    log_folder : Path
        Gets its log.
    metric, k : str
        Comma-separated.
    prepare_with : str, optional
        Preparation, "key=value,...".
    null, splits, groups, alpha, level, seed
        As `zooalign.score`.
    part : str, optional
        A range of the layers of x, as `zooalign.score`.
    """

    x: str
    y: str
    json_file: Path
    log_folder: Path = Path("results/logs/score")
    metric: str = "mutual_knn"
    k: str = "10"
    prepare_with: str | None = None
    null: int = 0
    splits: int = 0
    groups: str | None = None
    alpha: float = 0.05
    level: float = 0.95
    seed: int = 0
    part: str | None = None

    def _title(self) -> str:
        return f"score {self.x} {self.y}" + (f", part {self.part}" if self.part else "")

    def _log(self) -> Path:
        return self.log_folder / f"{self.json_file.stem}.log"

    @property
    def results(self) -> Path:
        """Results folder of its log."""
        return self.log_folder.parent.parent

    def _needs(self, cluster: bool) -> dict[str, int | str]:
        del cluster
        mb = sum(_size_mb(side) for side in (self.x, self.y))
        # Stored as compressed float16, computed with in float32, prepared and indexed.
        return {"mem_mb": round(_BASE_MEM_MB + 8 * mb), "runtime": 60, "cpus_per_task": 1}

    def __call__(self) -> str:
        """Score; return the path of the JSON file."""
        from zooalign.alignment.score import score_command

        run_logged(
            self.log,
            self.title,
            lambda report: report(
                score_command(
                    self.x,
                    self.y,
                    metric=self.metric,
                    k=self.k,
                    prepare=self.prepare_with,
                    null=self.null,
                    splits=self.splits,
                    groups=self.groups,
                    alpha=self.alpha,
                    level=self.level,
                    seed=self.seed,
                    part=self.part,
                    json_file=str(self.json_file),
                    keep=str(self.json_file.with_name(f".{self.json_file.name}.null")),
                )
            ),
        )
        return str(self.json_file)


def _size_mb(side: str) -> float:
    path = Path(f"{side.partition('.npz:')[0]}.npz" if ".npz:" in side else side)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file()) / 2**20
