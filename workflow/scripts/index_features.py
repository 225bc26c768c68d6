"""index_features: neighbour lists and kernels of one model, for all its pairs."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.indexes.from_features import index_features

    index_features(
        store_path=Path(snakemake.params.store),
        path=Path(snakemake.output[0]).parent,
        report=report,
        **snakemake.params.settings,
    )
