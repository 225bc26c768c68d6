# zooalign: which models see the world alike, and does it grow with capability?
# What to sweep stands in config.yaml; how each step works, in src/zooalign.
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# A configuration given by --configfile stands in its place; without one here, that of the checkout is taken.
if not workflow.overwrite_configfiles:
    BASE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True))

    configfile: "config.yaml" if Path("config.yaml").exists() else BASE / "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/capability.smk"
include: "workflow/rules/results.smk"


rule all:
    default_target: True
    input:
        sum(FILES.values(), []),
    localrule: True
    message:
        "Everything"


onstart:
    check_start()


onsuccess:
    check_end()


onerror:
    check_end(failed=True)
