"""Rules of tables, figures and the report, which are made from all rows, nulls, intervals and records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooalign.planning import costs
from zooalign.registry import plugin
from zooalign.results.publishing import SUFFIXES
from zooalign.workflow import checks
from zooalign.workflow.checks import Verdict
from zooalign.workflow.rule import Needs, Parts, Rule

if TYPE_CHECKING:
    from zooalign.config.sweep import Sweep
    from zooalign.layout import Layout
    from zooalign.progress import Report
    from zooalign.workflow.work import Work


FIGURE_SUFFIXES = (".svg", ".pdf", ".png")
_READ = ("align_row", "infer_row", "measure_capability")


class _Result(Rule):
    """Base of tables and figures: made from all rows and records."""

    light = gathered = True
    files_written = 5

    def needs(self, work: Work, *parts: str) -> Needs:
        made_by = plugin(self.name.removeprefix("make_"), parts[0], self.kind)
        cells = ["align_prepared"] if getattr(made_by, "READS_SENSITIVITY", False) else []
        return [(i.rule, i.parts) for rule in (*_READ, *cells) for i in work.items(rule)]

    def check(self, work: Work, *parts: str) -> Verdict:
        return checks.result(work, self.name, *parts)

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"sweep": work.sweep, "name": parts[0]}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.results.findings import make_result

        needs = {rule: [work.file(r, p) for r, p in self.needs(work, *parts) if r == rule]
                 for rule in (*_READ, "align_prepared")}  # fmt: skip
        make_result(
            row_paths=needs["align_row"],
            capability_paths=needs["measure_capability"],
            inference_paths=needs["infer_row"],
            sensitivity_paths=needs["align_prepared"],
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
        return [Path(f"{layout.table(*parts)}{suffix}") for suffix in SUFFIXES]

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"kind": "tables", **super().settings(work, *parts)}

    def written(self, work: Work, *parts: str) -> float:
        del parts
        return costs.n_lines(work.sweep) * costs.TYPICAL_LINE_BYTES / len(work.sweep.config.tables)


class MakeFigures(_Result):
    """A figure of one dataset, as SVG, PDF and PNG."""

    name, wildcards, kind = "make_figures", ("figure", "dataset"), "figure"

    def parts(self, work: Work) -> list[Parts]:
        return [(name, dataset) for name in work.sweep.config.figures for dataset in work.sweep.datasets()]

    def title(self, parts: Parts) -> str:
        return "{} of {}".format(*parts)

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        return [Path(f"{layout.figure('_'.join(parts))}{suffix}") for suffix in FIGURE_SUFFIXES]

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"kind": "figures", "dataset": parts[1], **super().settings(work, *parts)}

    def written(self, work: Work, *parts: str) -> float:
        del work, parts
        return 4e5


class MakeReport(_Result):
    """The report: one HTML file, with all tables in it."""

    name, wildcards, kind = "make_report", ("report",), "report"
    gathered, files_written = False, 2

    def parts(self, work: Work) -> list[Parts]:
        return [("report",)]

    def files(self, layout: Layout, *parts: str) -> list[Path]:
        del parts
        return [layout.report()]

    def needs(self, work: Work, *parts: str) -> Needs:
        read = (*_READ, "align_prepared", "make_tables")
        return [(i.rule, i.parts) for rule in read for i in work.items(rule)]

    def settings(self, work: Work, *parts: str) -> dict[str, Any]:
        return {"sweep": work.sweep}

    def run(self, work: Work, parts: Parts, report: Report) -> None:
        from zooalign.report.build import make_report

        def made(rule: str) -> list[Path]:
            return [file for item in work.items(rule) for file in work.files(*item)]

        make_report(
            row_paths=made("align_row"),
            capability_paths=made("measure_capability"),
            inference_paths=made("infer_row"),
            sensitivity_paths=made("align_prepared"),
            table_paths=made("make_tables"),
            files=self.files(work.layout, *parts),
            report=report,
            **self.settings(work, *parts),
        )

    def written(self, work: Work, *parts: str) -> float:
        del parts
        return 8e6 + costs.n_lines(work.sweep) * costs.TYPICAL_LINE_BYTES / 4
