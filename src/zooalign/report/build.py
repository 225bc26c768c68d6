"""`make_report`: the report of a sweep as one HTML file, beside it what it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from zooalign.results.findings import Findings, record_result
from zooalign.storage.atomic import write_text

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.progress import Report

VERSION = 1
READS_SENSITIVITY = True
# A table that is larger, packed, lies beside the report only.
TABLE_BYTES = 500_000
TITLE = "zooalign: which models see the world alike?"


def make_report(
    sweep: Sweep,
    row_paths: Iterable[Path],
    capability_paths: Iterable[Path],
    inference_paths: Iterable[Path],
    sensitivity_paths: Iterable[Path],
    table_paths: Iterable[Path],
    files: Iterable[Path],
    report: Report,
) -> None:
    """Write the report, and beside it what it was made from.

    Parameters
    ----------
    sweep : Sweep
        The checked configuration.
    row_paths, capability_paths, inference_paths, sensitivity_paths : iterable of Path
        As in `Findings`.
    table_paths : iterable of Path
        Files of all tables: the page offers each as CSV.
    files : iterable of Path
        The HTML file.

    Raises
    ------
    StoreError
        If a row or table is damaged, or the disk is full.
    DatasetError
        If a dataset is damaged.
    """
    given = (row_paths, capability_paths, inference_paths, sensitivity_paths)
    findings = Findings(sweep, *(tuple(map(Path, some)) for some in given))
    [file] = map(Path, files)
    write_text(file, report_page(findings, [Path(path) for path in table_paths]))
    record_result(findings, "report", "build", [file])
    report(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB): open it in a browser")


def report_page(findings: Findings, table_paths: Iterable[Path]) -> str:
    """The report as HTML, see :mod:`zooalign.report.page`."""
    from zooalign.report.document import document
    from zooalign.report.maps import CELLS, all_layer_names, layer_maps
    from zooalign.report.packing import packed, packed_json
    from zooalign.report.page import page
    from zooalign.report.samples import packed_samples
    from zooalign.report.scores import score_blocks
    from zooalign.results.publishing import read_header

    tables = {path.stem: path.with_suffix("") for path in table_paths if path.suffix == ".csv"}
    header = read_header(f"{next(iter(tables.values()))}.parquet") if tables else findings.header
    datasets = findings.sweep.datasets()
    files = {name: packed(Path(f"{path}.csv").read_bytes()) for name, path in tables.items()}
    listed = [{"name": name, "held": len(text) <= TABLE_BYTES} for name, text in files.items()]
    blocks = {
        "document": packed_json({**document(findings, header, tables), "tables": listed}),
        "scores": packed_json(score_blocks(findings)),
        **{
            f"maps-{name}": packed_json(
                {**layer_maps(findings, name, CELLS // len(datasets)), "layers": all_layer_names(findings, name)}
            )
            for name in datasets
        },
        **{f"samples-{name}": text for name, text in packed_samples(findings, datasets).items()},
        **{f"table-{one['name']}": files[one["name"]] for one in listed if one["held"]},
    }
    return page(TITLE, header.answers, blocks)
