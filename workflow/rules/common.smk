# The checked configuration, and what the rules ask about it.
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from zooalign.errors import ZooalignError
from zooalign.layout import Layout
from zooalign.workflow import session, start
from zooalign.workflow.work import Item, Work, open_sweep

CHECKOUT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]

if "conda" in {str(m).lower() for m in workflow.deployment_settings.deployment_method}:
    raise WorkflowError(session.NO_CONDA)

# Told to every process of the run: sbatch and local jobs inherit the environment.
if workflow.is_main_process:
    # The executor is chosen after this file is read; `--jobs` beside `--cores` or without it means jobs elsewhere
    # (alone and on this machine it means cores, and Snakemake has made it that by now).
    session.begin(cluster=workflow.resource_settings.nodes is not None)

try:
    if workflow.is_main_process:
        start.check_files(workflow.configfiles)
    SWEEP = open_sweep(config, session.roots(workflow.overwrite_configfiles, CHECKOUT))
    LAYOUT = Layout(Path(SWEEP.config.results))
    WORK = Work(SWEEP, LAYOUT, session.on_cluster(), session.anew())
except ZooalignError as error:
    raise WorkflowError(str(error))

RESULTS = SWEEP.config.results
FETCHED_HERE = SWEEP.config.jobs.fetch_on == "controller"
CLUSTER = []  # what the cluster has, once it was asked
# Every output of the sweep, by rule.
FILES = session.all_files(WORK)
if workflow.is_main_process:
    session.settle(WORK)
    try:
        start.check_sizes(WORK)
        start.check_bound(WORK)
        start.check_permissions(WORK)
    except ZooalignError as error:
        raise WorkflowError(str(error))


pathvars:
    results=RESULTS,


wildcard_constraints:
    dataset=session.any_of(SWEEP.catalogue),
    preparation=session.any_of(SWEEP.preparations),
    model=session.any_of({*SWEEP.weights, *(m.id for m in SWEEP.models)}),
    capability=session.any_of(c.id for c in SWEEP.config.capabilities),
    figure=session.any_of(SWEEP.config.figures),


def parts_of(rule, fixed, wildcards):
    """What a job is about: a table by its name, all else by wildcards."""
    return fixed or tuple(wildcards[name] for name in session.wildcards(rule))


def forced():
    """Rules and files that the user wants made again, known when the DAG is being built; "*" for everything."""
    settings = workflow.dag_settings
    targets = settings.targets if settings.forcetargets else ()
    return (
        ["*"]
        if settings.forceall
        else [*map(str, settings.forcerun), *map(str, targets)]
    )


def due(rule, *fixed):
    """Nothing where digests prove an output, else a file that is newer than anything and is named by the reason."""

    def marks(wildcards):
        if not workflow.is_main_process:
            return []
        WORK.anew = session.make_anew(forced())
        return session.marks(WORK, Item(rule, parts_of(rule, fixed, wildcards)))

    return marks


def needed(rule, place=None):
    """Outputs that a job is made from: all, the one at a place, or those of a rule."""
    return lambda w: session.needed_files(
        WORK, Item(rule, parts_of(rule, (), w)), place
    )


def weights_for(rule):
    """Weights that a job runs with; none where they were removed and what was made with them is done."""

    def files(wildcards):
        if workflow.is_main_process:
            WORK.anew = session.make_anew(forced())
        return session.weights_for(WORK, Item(rule, parts_of(rule, (), wildcards)))

    return files


def readers_of(wildcards):
    """Everything that must be done before the weights of a model can go."""
    return session.readers_of(WORK, wildcards.model)


def room_for(wildcards):
    """Removals that must have happened before weights are fetched."""
    if not workflow.is_main_process:
        return []
    return session.room_for(WORK, wildcards.model)


def given(rule, *fixed):
    """Parameters: arguments of the library's function, and what a job has to know of itself."""
    return {
        "settings": lambda w: WORK.settings(Item(rule, parts_of(rule, fixed, w))),
        "about": lambda w: WORK.about(Item(rule, parts_of(rule, fixed, w))),
    }


def asks_for(rule, *fixed):
    """What a job asks for, by Snakemake's names: from the manifest and config.yaml, more with every attempt."""

    def amount(resource):
        return lambda w, attempt: session.asked(
            WORK, Item(rule, parts_of(rule, fixed, w)), attempt, *CLUSTER
        ).get(resource)

    return {
        "attempt": lambda wildcards, attempt: attempt,
        **{name: amount(name) for name in session.resource_names(WORK, rule)},
    }


# Under another name, because a line that begins with `report` is a directive to Snakemake.
in_report = report


def reported(rule, *fixed):
    """Files of a table or figure, as the report shows them."""
    return [
        (
            in_report(
                update(file),
                caption=f"../report/{rule}.rst",
                category=session.CATEGORIES[rule],
                subcategory=subcategory,
                labels=labels,
            )
            if labels["format"] in session.READABLE
            else update(file)
        )
        for file, subcategory, labels in session.reported_files(WORK, rule, fixed)
    ]


def grouped(rule):
    """Group of small jobs, of which a cluster gets several as one (profiles/slurm); none on one machine."""
    if not WORK.cluster:
        return None
    return lambda w: session.group(WORK, Item(rule, parts_of(rule, (), w)))


def check_start():
    """Refuse what cannot be done, before anything is submitted."""
    start.let_sigterm_in(workflow.scheduler)
    problem = start.check_touch(WORK) if workflow.touch else ""
    if problem:
        raise WorkflowError(problem)
    try:
        start.check_permissions(WORK, folders=True)
        start.own_results(WORK)
    except ZooalignError as error:
        raise WorkflowError(str(error))
    if WORK.cluster and workflow.executor_plugin.name == "slurm":
        submitted = [
            (session.item_of(job.rule.name, job.wildcards), job.threads, job.resources)
            for job in workflow.dag.needrun_jobs()
            if not job.is_local
        ]
        settings = workflow.executor_settings
        partitions = settings.partition_config
        try:
            resources = submitted[0][2] if submitted else {}
            start.check_settings(
                settings.status_command,
                min(workflow.resource_settings.nodes or 0, len(submitted)),
                resources,
            )
            CLUSTER.extend(start.check_cluster(submitted, partitions))
        except ZooalignError as error:
            raise WorkflowError(str(error))


def asked_for_all():
    """Whether the run was to make everything."""
    settings = workflow.dag_settings
    some = (settings.until, settings.omit_from, settings.batch, settings.allowed_rules)
    return not any(some) and set(settings.targets) <= {"all"}


def check_end(failed=False):
    """Print what was found, or finish what can be done without what failed."""
    if workflow.touch:
        return
    scheduler = workflow.scheduler
    jobs = [
        member for job in scheduler.failed for member in getattr(job, "jobs", [job])
    ]
    session.end(
        Work(SWEEP, LAYOUT, WORK.cluster),
        failed=failed,
        items=[session.item_of(job.rule.name, job.wildcards) for job in jobs],
        interrupted=session.is_interrupted(scheduler),
        folder=workflow.workdir_init,
        whole=asked_for_all(),
    )


for name, reason in SWEEP.left_out.items():
    logger.info(f"Model {name} is left out: {reason}.")
