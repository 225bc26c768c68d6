"""build_dataset: put one dataset into results/datasets."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.discovery import room
from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"build_dataset {w.dataset}") as report:
    spec = load_sweep(snakemake.config).dataset(w.dataset)
    family = room("datasets", spec.family, "dataset family")
    family.build(family.Options(**spec.options), Path(snakemake.output[0]).parent, report)
