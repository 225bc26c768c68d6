"""remove_weights: what was fetched for a model goes when nothing reads it any more."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.models.removal import remove_weights

    folder = Path(snakemake.input.weights).parent
    remove_weights(folder=folder, path=Path(snakemake.output[0]), report=report, **snakemake.params.settings)
