"""Doing items: what each rule does, one item at a time or a block of them, wherever the job runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from zooalign.accounting import job_record, record_job
from zooalign.config import ExtractionConfig, Sweep
from zooalign.dag import Block, Dag, Item
from zooalign.errors import ZooalignError, unknown
from zooalign.job import job
from zooalign.layout import Layout
from zooalign.network import offline
from zooalign.progress import Report, duration
from zooalign.provenance import stamp, write_json
from zooalign.resources import device_of, side_by_side

# Rules that may use the network; all others fail at once where something is missing.
FETCHING = ("build_dataset", "fetch_weights")
# Told by the controlling Snakemake to every process of a run.
CLUSTER = os.environ.get("ZOOALIGN_CLUSTER") == "1"


def do_item(
    sweep: Sweep, layout: Layout, rule: str, parts: tuple[str, ...], report: Report, dag: Dag | None = None
) -> bool:
    """Do one item in this process, unless it is done; what it is made from must be there.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    rule : str
        One of `dag.RULES`.
    parts : tuple of str
        What it is applied to, as in `dag.Item`.
    report : callable
        Takes lines for the log.
    dag : Dag, optional
        The sweep's, where one is at hand.

    Returns
    -------
    bool
        Whether all of it was done now; False if it was there, or had been begun before.

    Raises
    ------
    ZooalignError
        Whatever the rule's function raises; finished batches and pairs are kept.
    """
    if rule not in _DOERS:
        raise ZooalignError(unknown("rule", rule, _DOERS))
    dag = dag or Dag(sweep, layout)
    item = dag.item(rule, parts)
    if dag.is_done(item):
        report("already there")
        return False
    begun = any(path.exists() for path in _traces(dag, rule, parts))
    receipt = layout.item_receipt(rule, *parts)
    # First, so that a receipt never stands beside artefacts that are being replaced.
    receipt.unlink(missing_ok=True)
    for output in dag.outputs(rule, parts):
        output.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext() if rule in FETCHING else offline():
        _DOERS[rule](dag, parts, report)
    write_json(receipt, {"rule": rule, "item": item.name, "digest": item.digest, "stamp": stamp()})
    return not begun


def _traces(dag: Dag, rule: str, parts: tuple[str, ...]) -> list[Path]:
    """What an earlier attempt leaves behind when it ends before its time."""
    from zooalign.store import staging_folder

    if rule == "extract_features":
        return [dag.layout.features(*parts), staging_folder(dag.layout.features(*parts))]
    return dag.artefacts(rule, parts)


def _build_dataset(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.datasets import build_dataset

    build_dataset(dag.sweep.dataset(*parts), dag.layout.dataset(*parts), report, **_owner(dag))


def _fetch_weights(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.sources import fetch_weights

    spec = dag.sweep.model(*parts)
    made = fetch_weights(spec, dag.layout.weights(*parts), report, **_owner(dag))
    size = f"{made['file']}, {made['bytes'] / 2**20:.1f} MiB" if made["file"] else "no weight file"
    report(f"{size}, licence {spec.licence}")


def _extract_features(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.extraction import extract_features

    dataset, model = parts
    extract_features(
        spec=dag.sweep.model(model),
        weights_folder=dag.layout.weights(model),
        dataset_folder=dag.layout.dataset(dataset),
        path=dag.layout.features(dataset, model),
        settings=_settings(dag, "extract_features", parts),
        report=report,
        scratch=dag.sweep.config.jobs.scratch,
        **_owner(dag),
    )


def _index_features(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.model_index import index_features

    index_features(
        store_path=dag.layout.features(*parts),
        path=dag.layout.index(*parts),
        report=report,
        **dag.sweep.index_settings(),
        **_owner(dag),
    )


def _align_row(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.alignment import align_row

    dataset, model = parts
    settings = dag.row_settings(dataset, model)
    align_row(
        model=model,
        pairs=settings["pairs"],
        index_paths={m: dag.layout.index(dataset, m) for m in dag.row_members(dataset, model)},
        metrics=settings["metrics"],
        table_path=dag.layout.row(dataset, model),
        receipt_path=dag.layout.receipt(dataset, model),
        dataset=dataset,
        report=report,
        **_owner(dag),
    )


def _measure_capability(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.capability import measure_capability

    name, model = parts
    sweep, layout = dag.sweep, dag.layout
    capability = sweep.capability(name)
    sources = dict(dag.needs(dag.item("measure_capability", parts)))
    features = "extract_features" in sources
    measure_capability(
        spec=sweep.model(model),
        capability=capability,
        dataset_folder=layout.dataset(capability.dataset),
        source_folder=layout.features(capability.dataset, model) if features else layout.weights(model),
        path=layout.capability(name, model),
        digest=sweep.capability_digest(name, model),
        settings=_settings(dag, "measure_capability", parts),
        report=report,
        scratch=sweep.config.jobs.scratch,
        **_owner(dag),
    )


def _settings(dag: Dag, rule: str, parts: tuple[str, ...]) -> ExtractionConfig:
    """How a model runs: on the device that its job asked for."""
    return dag.sweep.config.extraction.model_copy(update={"device": device_of(dag.sweep, rule, parts)})


def _owner(dag: Dag) -> dict[str, Any]:
    """When another job of the same output is taken for dead."""
    return {"owner_timeout_s": dag.sweep.config.jobs.owner_timeout_s}


def _make_tables(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.findings import make_tables

    make_tables(_findings(dag), dag.sweep.config.tables, dag.layout.table("x").parent)
    report(f"wrote {', '.join(map(str, dag.artefacts('make_tables', parts)))}")


def _make_figures(dag: Dag, parts: tuple[str, ...], report: Report) -> None:
    from zooalign.findings import make_figures

    make_figures(_findings(dag), dag.sweep.config.figures, dag.layout.figure("x").parent)
    report(f"wrote {', '.join(map(str, dag.artefacts('make_figures', parts)))}")


def _findings(dag: Dag) -> Any:
    from zooalign.findings import Findings

    rows = tuple(dag.layout.row(*item.parts) for item in dag.items("align_row"))
    records = tuple(dag.layout.capability(*item.parts) for item in dag.items("measure_capability"))
    return Findings(dag.sweep, rows, records)


_DOERS: dict[str, Callable[[Dag, tuple[str, ...], Report], None]] = {
    "build_dataset": _build_dataset,
    "fetch_weights": _fetch_weights,
    "extract_features": _extract_features,
    "index_features": _index_features,
    "align_row": _align_row,
    "measure_capability": _measure_capability,
    "make_tables": _make_tables,
    "make_figures": _make_figures,
}


def do_block(sweep: Sweep, layout: Layout, block: Block, requested: dict[str, Any], attempt: int) -> None:
    """Do every item of a block; one that fails does not stop the others.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    layout : Layout
        Where artefacts lie.
    block : Block
        What to do; its receipt is written when every item is done.
    requested : dict
        What the job asked for ("mem_mb", "runtime", "gpu", ...), for the accounts.
    attempt : int
        Which attempt this is, from 1.

    Raises
    ------
    SystemExit
        With status 1 if an item failed; each has said why, in its log and on the screen.
    """
    begin = time.time()
    dag = Dag(sweep, layout)
    receipt = layout.job_receipt(block.rule, block.name)
    receipt.parent.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    state = "stopped"
    try:
        for item, how, seconds in _each(dag, block):
            done.append({"parts": list(item.parts), "state": how, "seconds": round(seconds, 3)})
            if len(block.items) > 1:
                left = duration((time.time() - begin) / len(done) * (len(block.items) - len(done)))
                _say(block, f"{len(done)} of {len(block.items)} items, {left} left")
        failed = ["/".join(d["parts"]) for d in done if d["state"] == "failed"]
        state = "failed" if failed else "done"
    finally:
        record = job_record(sweep, block.rule, block.name, done, begin, state, attempt, requested, CLUSTER)
        record_job(layout, {**record, "process_started": psutil.Process().create_time()})
    if failed:
        _say(block, f"{len(failed)} of {len(block.items)} items failed: {', '.join(failed)}")
        raise SystemExit(1)
    write_json(receipt, {"rule": block.rule, "items": [[i.name, i.digest] for i in block.items], "stamp": stamp()})


def _say(block: Block, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}  [{block.rule} {block.name}]", file=sys.stderr, flush=True)


def _each(dag: Dag, block: Block) -> Iterator[tuple[Item, str, float]]:
    """(item, "done", "kept" or "failed", seconds), as items end."""
    items = _suspects_last(dag.layout, block)
    width = side_by_side(dag.sweep, block.rule, [item.parts for item in items], CLUSTER)
    if width > 1:
        # Processes of their own share the GPU; one that is killed for its memory takes only itself away.
        with ProcessPoolExecutor(width, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
            futures = {pool.submit(_do_logged, dag.sweep, dag.layout, item): item for item in items}
            for future in as_completed(futures):
                yield (futures[future], *(("failed", 0.0) if future.exception() else future.result()))
        return
    mark = _mark(dag.layout, block)
    for item in items:
        # Still there after a kill: whoever killed the job did it during this item.
        mark.write_text(item.name, encoding="utf-8")
        how, seconds = _do_logged(dag.sweep, dag.layout, item, dag)
        mark.unlink(missing_ok=True)
        yield item, how, seconds


def _suspects_last(layout: Layout, block: Block) -> list[Item]:
    """The items; one during which a former attempt was killed comes last, so that it cannot starve the others."""
    try:
        suspect = _mark(layout, block).read_text(encoding="utf-8")
    except OSError:
        return list(block.items)
    return sorted(block.items, key=lambda item: item.name == suspect)


def _mark(layout: Layout, block: Block) -> Path:
    return layout.job_receipt(block.rule, block.name).with_suffix(".now")


def _do_logged(sweep: Sweep, layout: Layout, item: Item, dag: Dag | None = None) -> tuple[str, float]:
    """Do one item with its log: "done", "kept" or "failed", and the seconds it took."""
    begin = time.monotonic()
    how = "failed"
    log = layout.log(item.rule, *(item.parts or (item.name,)))
    try:
        with job(log, f"{item.rule} {item.name}") as report:
            how = "done" if do_item(sweep, layout, item.rule, item.parts, report, dag) else "kept"
    except (Exception, SystemExit):  # said on the screen already, and in the log
        how = "failed"
    return how, time.monotonic() - begin
