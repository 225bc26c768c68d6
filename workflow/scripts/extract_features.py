"""extract_features: every layer of one model in one pass over one dataset."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.features.extract import extract_features

    settings = {
        "dataset_folder": Path(snakemake.input.dataset).parent,
        "path": Path(snakemake.output[0]).parent,
        "report": report,
        **snakemake.params.settings,
    }
    if settings["spec"].imported:
        from zooalign.sharing.features import store_features

        store_features(**settings)
    else:
        extract_features(weights_folder=Path(snakemake.params.weights), **settings)
