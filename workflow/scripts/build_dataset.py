"""build_dataset: samples in a fixed order, with texts, groups and licences."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.data.build import build_dataset

    build_dataset(folder=Path(snakemake.output[0]).parent, report=report, **snakemake.params.settings)
