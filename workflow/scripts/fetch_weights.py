"""fetch_weights: find a model's weights, check their hash, prepare them once."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.job import job

w = snakemake.wildcards
with job(snakemake.log[0], f"fetch_weights {w.model}") as report:
    from zooalign.sources import fetch_weights

    spec = load_sweep(snakemake.config).model(w.model)
    made = fetch_weights(spec, Path(snakemake.output[0]).parent)
    size = f"{made['file']}, {made['bytes'] / 2**20:.1f} MiB" if made["file"] else "no weight file"
    report(f"{size}, licence {spec.licence}")
