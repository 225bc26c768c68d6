"""measure_capability: one capability of one model."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"measure_capability {w.capability} of {w.model}") as report:
    from zooalign.capability import measure_capability

    sweep = load_sweep(snakemake.config)
    source = snakemake.input.get("features") or snakemake.input.weights
    measure_capability(
        spec=sweep.model(w.model),
        capability=sweep.capability(w.capability),
        dataset_folder=Path(snakemake.input.dataset).parent,
        source_folder=Path(source).parent,
        path=Path(snakemake.output[0]),
        digest=snakemake.params.digest,
        settings=sweep.config.extraction,
        report=report,
    )
