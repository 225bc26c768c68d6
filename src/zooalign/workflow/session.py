"""What the Snakefile asks: which files a job reads and why it is due, what it asks for, how a run ends."""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import chdir, suppress
from functools import partial
from pathlib import Path
from typing import Any

from zooalign.workflow.rules import RULES
from zooalign.workflow.start import RUNNING
from zooalign.workflow.work import Item, Work

NO_CONDA = (
    "zooalign runs in one environment, which `bash run.sh setup` or `conda env create --file envs/cpu.yaml` makes: "
    "activate it and leave out --sdm conda and --use-conda."
)
CATEGORIES = {"make_tables": "Tables", "make_figures": "Figures", "make_report": "Report"}
READABLE = ("csv", "md", "svg", "png", "html")  # what a browser shows
_CLUSTER, _ANEW, _STARTED = "ZOOALIGN_CLUSTER", "ZOOALIGN_ANEW", "ZOOALIGN_STARTED"


def begin(cluster: bool) -> None:
    """Note whether jobs go to a cluster, and when the run began; jobs inherit the environment."""
    os.environ[_CLUSTER] = "1" if cluster else "0"
    # A second pass without what failed belongs to the same run.
    os.environ.setdefault(_STARTED, str(time.time()))


def on_cluster() -> bool:
    """Whether the run's jobs go to a cluster."""
    return os.environ.get(_CLUSTER) == "1"


def make_anew(names: Iterable[str]) -> frozenset[str]:
    """Note rules and files that the user wants made again; "*" stands for everything."""
    wanted = sorted(names)
    os.environ[_ANEW] = json.dumps(wanted)
    return frozenset(wanted)


def anew() -> tuple[str, ...]:
    """What shall be made although it is there, as the main process noted it."""
    return tuple(json.loads(os.environ.get(_ANEW, "[]")))


def started() -> float:
    """When the run began, seconds since 1970."""
    return float(os.environ.get(_STARTED, 0.0))


def roots(given: Iterable[Any], checkout: Path) -> list[Path]:
    """Folders that paths in the configuration are relative to; the first counts where a path exists.

    That of the last configuration file given on the command line, the working folder, the checkout.
    """
    return [*(Path(file).parent for file in list(given)[-1:]), Path(), checkout]


def any_of(names: Iterable[str]) -> str:
    """A pattern that matches these names and no others."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or "(?!)"


def wildcards(rule: str) -> tuple[str, ...]:
    """What the parts of a rule are called."""
    return RULES[rule].wildcards


def all_files(work: Work) -> dict[str, list[str]]:
    """Every output of a sweep, by rule."""
    return {rule: [str(f) for item in work.items(rule) for f in work.files(*item)] for rule in RULES}


def needed_files(work: Work, item: Item, place: int | str | None = None) -> list[str] | str:
    """What an item is made from: all files, the one at a place, or those of a rule."""
    needs = work.needs(item)
    files = [str(work.file(*need)) for need in needs if not isinstance(place, str) or need.rule == place]
    return files[place] if isinstance(place, int) else files


def cell_rows(work: Work, item: Item) -> list[str]:
    """Rows of the sensitivity that a table or figure reads; none for most."""
    return [str(work.file(*need)) for need in work.needs(item) if need.rule == "align_prepared"]


def weights_for(work: Work, item: Item) -> list[str]:
    """Weights that a job runs with; none where they were removed and what was made with them is done."""
    needs = [need for need in work.needs(item) if need.rule == "fetch_weights"]
    wanted = work.is_due(item) or work.is_asked_for(item)
    return [str(work.file(*need)) for need in needs if wanted or not work.is_removed(need.parts[0])]


def readers_of(work: Work, model: str) -> list[str]:
    """Everything that must be done before the weights of a model can go."""
    needs = work.needs(Item("remove_weights", (model,)))
    return [str(work.file(*need)) for need in needs if need.rule != "fetch_weights"]


def room_for(work: Work, model: str) -> list[str]:
    """Removals that must have happened before a model's weights are fetched (weights_gib)."""
    return [str(path) for path in work.fetched_after().get(model, ())]


def mark(work: Work, state: str) -> Path:
    """A file that is newer than every artefact: an input of what is due, named by the reason."""
    return work.layout.results / ".due" / state


def marks(work: Work, item: Item) -> list[str]:
    """Nothing for an item whose digest proves it, or whose file is missing (Snakemake says so); else its mark."""
    if RULES[item.rule].gathered and work.is_named(item.rule):
        # `-R make_tables` names the rule that gathers all tables; it has no outputs itself.
        return [str(mark(work, "asked_for"))]
    removed = item.rule == "fetch_weights" and work.is_removed(*item.parts)
    if removed and any(map(work.is_asked_for, work.readers()[item.parts[0]])):
        return [str(mark(work, "asked_for"))]
    state = work.verdict(item).state
    return [] if state in ("done", "missing", "partial") else [str(mark(work, state))]


def settle(work: Work) -> None:
    """Make file times agree with digests, which alone decide: what they prove is touched where it looks old.

    Marks get another content each time, because Snakemake takes a small file whose content it knows for unchanged.
    """
    for state in ("stale", "damaged", "asked_for"):
        with suppress(OSError):
            path = mark(work, state)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(time.time_ns()))
    times: dict[Path, int] = {}

    def modified(path: Path) -> int:
        if path not in times:
            times[path] = path.stat().st_mtime_ns
        return times[path]

    for item in work.all_items():
        if work.is_due(item):
            continue
        newest = max((modified(work.file(*need)) for need in work.needs(item)), default=0)
        # Snakemake counts a benchmark among the outputs.
        benchmark = work.layout.benchmark(item.rule, *item.parts)
        for file in [*work.files(*item), *([benchmark] if benchmark.exists() else [])]:
            if modified(file) < newest:
                with suppress(
                    OSError
                ):  # somebody else's results: they are read, and Snakemake will say what it makes
                    os.utime(file)
                    del times[file]


def resource_names(work: Work, rule: str) -> list[str]:
    """Resources that jobs of a rule name; the profile's defaults apply to all others."""
    from zooalign.workflow.resources import resource_overrides

    return ["mem_mb", "runtime", "gpu", *resource_overrides(work.sweep, rule)]


def asked(work: Work, item: Item, attempt: int, cluster: Any = None) -> Mapping[str, int | str]:
    """What an attempt of a job asks for; not more than a node has where `cluster` (preflight.Cluster) is known."""
    amounts = work.asked(item, attempt)
    # More than a node has would be refused, or wait for ever.
    return cluster.lower(item.rule, item.name, amounts) if cluster and attempt > 1 else amounts


def group(work: Work, item: Item) -> str:
    """Group that a small job may be put together in; one that runs a model is a group of its own."""
    rule = RULES[item.rule]
    return ".".join([item.rule, *item.parts]) if rule.runs_model(work.sweep, item.parts) else item.rule


def reported_files(work: Work, rule: str, parts: tuple[str, ...]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Outputs of a table or of all figures, with what the report calls them: file, subcategory, labels."""
    named = parts or tuple(f"{{{name}}}" for name in RULES[rule].wildcards)
    for file in RULES[rule].files(work.layout, *named):
        labels = dict(zip(RULES[rule].wildcards, named, strict=True))
        yield str(file), named[-1], {**labels, "format": file.suffix[1:]}


def item_of(rule: str, wildcards: Mapping[str, str]) -> Item | None:
    """The item of a job of Snakemake, by its rule and wildcards; None for rules that only gather others."""
    for name in RULES:
        # A workflow that uses this one as a module may have put a prefix before the names of rules.
        if (rule == name or rule.endswith(f"_{name}")) and wildcards:
            return Item(name, tuple(wildcards[part] for part in RULES[name].wildcards))
    if rule.endswith("make_figure"):
        return Item("make_figures", tuple(wildcards[part] for part in RULES["make_figures"].wildcards))
    if rule.endswith("make_report"):
        return Item("make_report", ("report",))
    table = rule.rpartition("make_table_")[2]
    return Item("make_tables", (table,)) if "make_table_" in rule else None


def is_interrupted(scheduler: Any) -> bool:
    """Whether Snakemake's scheduler stopped before all that could run had run: Ctrl-C, SIGTERM, no --keep-going."""
    # Ctrl-C leaves jobs that run or, while the next ones are selected, could run.
    left = scheduler.running or (scheduler.open_jobs and not scheduler._executor_error)
    return bool(left or scheduler._user_kill or not scheduler.keepgoing)


def end(
    work: Work, failed: bool, items: Iterable[Item | None], interrupted: bool, folder: str, whole: bool = False
) -> None:
    """Finish what can be done without the items that failed, by the command given in `folder`; say how it ended.

    `whole` is whether the run was asked for everything, so that nothing may be missing.
    """
    from zooalign.workflow import closing

    if not failed:
        if whole and any(work.is_due(item) for item in work.all_items()):
            _end_with(1)
        _at_the_end(closing.print_closing, work, started())
        return
    failures = closing.finish_without_failed(work, [item for item in items if item], interrupted, folder, started())
    if failures:
        _at_the_end(closing.print_failures, work, failures, started())
    elif not interrupted and not any(map(Work(work.sweep, work.layout, work.cluster).is_due, work.all_items())):
        _end_with(0)
        note = "zooalign: everything is done; what had not started did so the second time."
        _at_the_end(partial(print, note, file=sys.stderr))
    if work.cluster:
        _at_the_end(_print_left, os.getcwd())


def _print_left(folder: str) -> None:
    """Jobs of the run that are in the queue though it has ended: those that Snakemake could not cancel."""
    from zooalign.slurm.squeue import left_in, queued

    if left := left_in(folder, queued("zooalign_")):
        print(left, file=sys.stderr)


def _end_with(status: int) -> None:
    """End the process with a status that Snakemake would not give; called before anything else is put at the end."""

    def call() -> None:
        RUNNING.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(call)


def _at_the_end(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function when the process ends, in the folder of now: Snakemake leaves that of --directory before."""
    folder = os.getcwd()

    def call() -> None:
        with chdir(folder):
            function(*arguments)

    atexit.register(call)
