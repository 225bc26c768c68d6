"""build_dataset: put one dataset into results/datasets."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"build_dataset {w.dataset}") as report:
    from zooalign.datasets import build_dataset

    build_dataset(load_sweep(snakemake.config).dataset(w.dataset), Path(snakemake.output[0]).parent, report)
