"""fetch_weights: a model's weights, found, checked and converted once."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.models.loading import fetch_weights

    fetch_weights(folder=Path(snakemake.output[0]).parent, report=report, **snakemake.params.settings)
