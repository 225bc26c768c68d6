"""extract_features: every layer of one model on one dataset."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"extract_features {w.model} on {w.dataset}") as report:
    from zooalign.extraction import extract_features

    sweep = load_sweep(snakemake.config)
    extract_features(
        spec=sweep.model(w.model),
        weights_folder=Path(snakemake.input.weights).parent,
        dataset_folder=Path(snakemake.input.dataset).parent,
        path=Path(snakemake.output[0]).parent,
        settings=sweep.config.extraction,
        report=report,
    )
