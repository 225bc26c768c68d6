"""measure_capability: how good one model is."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.capability._runner import measure_capability

    measure_capability(
        dataset_folder=Path(snakemake.input.dataset).parent,
        source_folder=Path(snakemake.params.source),
        path=Path(snakemake.output[0]),
        report=report,
        **snakemake.params.settings,
    )
