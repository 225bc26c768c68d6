"""make_report: the report of the sweep, with what it was made from beside it."""

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.report.build import make_report

    make_report(
        row_paths=snakemake.input.rows,
        capability_paths=snakemake.input.capabilities,
        inference_paths=snakemake.input.inference,
        sensitivity_paths=snakemake.input.cells,
        table_paths=snakemake.input.tables,
        files=snakemake.output,
        report=report,
        **snakemake.params.settings,
    )
