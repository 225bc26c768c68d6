# The checked configuration, and the jobs that follow from it.
from pathlib import Path

from snakemake.exceptions import WorkflowError

from zooalign.config import load_sweep
from zooalign.dag import Dag
from zooalign.errors import ZooalignError
from zooalign.layout import Layout

try:
    SWEEP = load_sweep(config)
except ZooalignError as error:
    raise WorkflowError(str(error))

LAYOUT = Layout(Path(SWEEP.config.results))
WORK = Dag(SWEEP, LAYOUT)
RESULTS = SWEEP.config.results


wildcard_constraints:
    dataset="[A-Za-z0-9][A-Za-z0-9._-]*",
    model="[A-Za-z0-9][A-Za-z0-9._-]*",
    capability="[A-Za-z0-9][A-Za-z0-9._-]*",


for name, reason in SWEEP.left_out.items():
    logger.info(f"Model {name} is left out: {reason}.")
