"""make_figures: every figure of the sweep."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.job import job

with job(snakemake.log[0], "make_figures") as report:
    from zooalign.findings import Findings, make_figures

    sweep = load_sweep(snakemake.config)
    rows, records = (tuple(map(Path, snakemake.input.get(key, []))) for key in ("rows", "capabilities"))
    make_figures(Findings(sweep, rows, records), sweep.config.figures, Path(snakemake.output[0]).parent)
    report(f"wrote {', '.join(snakemake.output)}")
