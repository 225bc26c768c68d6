# zooalign: which models see the world alike, and does it grow with capability?
# What to sweep stands in config.yaml; how each step works, in src/zooalign.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/capability.smk"
include: "workflow/rules/results.smk"


# Fetched where the network is: on a cluster, where Snakemake itself runs, unless the configuration says otherwise.
if SWEEP.config.jobs.fetch_on == "controller":

    localrules:
        build_dataset,
        fetch_weights,


rule all:
    default_target: True
    input:
        # What is due and nothing else: an item is done when its own receipt says so (see src/zooalign/dag.py).
        WORK.receipts() if workflow.is_main_process else [],
        # A rule without any file would always run.
        workflow.main_snakefile,


onstart:
    WORK.write_orders()
    refuse_what_no_node_has()


onsuccess:
    from zooalign.closing import print_closing

    print_closing(SWEEP, LAYOUT, STARTED)


onerror:
    from zooalign.closing import finish_without_failed

    finish_without_failed(SWEEP, LAYOUT, workflow.scheduler, STARTED)
