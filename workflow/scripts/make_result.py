"""make_table_..., make_figure: one table, or one figure of a dataset, with what it was made from beside it."""

from zooalign.workflow.job import workflow_job

with workflow_job(snakemake.log[0], snakemake.params.about, snakemake.resources) as report:
    from zooalign.results.findings import make_result

    make_result(
        row_paths=snakemake.input.rows,
        capability_paths=snakemake.input.capabilities,
        inference_paths=snakemake.input.inference,
        sensitivity_paths=snakemake.input.cells,
        files=snakemake.output,
        report=report,
        **snakemake.params.settings,
    )
