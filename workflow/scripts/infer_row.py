"""infer_row: nulls and intervals of one model against its partners, pair by pair."""

from pathlib import Path

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.alignment.infer_row import infer_row

    indexes = [Path(file).parent for file in snakemake.input.indexes]
    infer_row(
        index_paths={path.stem: path for path in indexes},
        dataset_folder=next((Path(file).parent for file in snakemake.input.dataset), None),
        table_path=Path(snakemake.output[0]),
        receipt_path=Path(snakemake.params.receipt),
        report=report,
        **snakemake.params.settings,
    )
