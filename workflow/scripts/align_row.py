"""align_row: one model against its partners."""

from pathlib import Path

from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"align_row {w.model} on {w.dataset}") as report:
    from zooalign.alignment import Pair, align_row

    paths = [Path(p).parent for p in snakemake.input]
    align_row(
        model=w.model,
        pairs=[Pair(*pair) for pair in snakemake.params.row["pairs"]],
        index_paths={p.stem: p for p in paths},
        metrics=snakemake.params.row["metrics"],
        table_path=Path(snakemake.output.table),
        receipt_path=Path(snakemake.output.receipt),
        dataset=w.dataset,
        report=report,
    )
