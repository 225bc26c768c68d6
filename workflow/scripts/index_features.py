"""index_features: neighbour lists and kernels of one model, for all its pairs."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.indexes.from_features import index_features

    settings = {"path": Path(snakemake.output[0]).parent, "report": report, **snakemake.params.settings}
    if "spec" in settings:  # neighbour lists of it were imported
        from zooalign.sharing.lists import index_lists

        index_lists(dataset_folder=Path(snakemake.params.dataset), **settings)
    else:
        index_features(store_path=Path(snakemake.params.store), **settings)
