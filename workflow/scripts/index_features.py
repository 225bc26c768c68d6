"""index_features: what every pair of one model reuses."""

from pathlib import Path

from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"index_features {w.model} on {w.dataset}") as report:
    from zooalign.model_index import index_features

    index_features(
        store_path=Path(snakemake.input[0]).parent,
        path=Path(snakemake.output[0]).parent,
        report=report,
        **snakemake.params.settings,
    )
