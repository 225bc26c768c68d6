"""Every rule: do the items of one block."""

from pathlib import Path

from zooalign.config import load_sweep
from zooalign.dag import Dag
from zooalign.layout import Layout
from zooalign.work import do_block

sweep = load_sweep(snakemake.config)
layout = Layout(Path(sweep.config.results))
block = Dag(sweep, layout).read_block(snakemake.rule, snakemake.wildcards.block)
do_block(sweep, layout, block, requested=dict(snakemake.resources), attempt=snakemake.resources.attempt)
