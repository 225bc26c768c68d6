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


rule all:
    default_target: True
    input:
        result_files(),


onsuccess:
    from zooalign.closing import print_closing

    print_closing(SWEEP, LAYOUT)


onerror:
    from zooalign.closing import print_failures

    print_failures(SWEEP, LAYOUT)
