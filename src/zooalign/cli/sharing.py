"""`zooalign export neighbors|features|scores` and `zooalign import`: results that travel without weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zooalign.cli.options import ConfigOption, open_config
from zooalign.errors import ConfigError, ShareError, unknown

if TYPE_CHECKING:
    from zooalign.config.manifest import ModelSpec
    from zooalign.workflow.work import Work

app = typer.Typer(help="Write results for others: neighbour lists, features, scores.", no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(help="Id of a model.")]
DatasetOption = Annotated[str | None, typer.Option(help="Dataset; default: the only one of the sweep.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where it goes; default: by its name.")]
ReplaceOption = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@app.command("neighbors")
def export_neighbors(
    model: ModelArgument,
    dataset: DatasetOption = None,
    output: OutputOption = None,
    k_max: Annotated[
        int | None, typer.Option(min=1, help="Shorten the lists to this many neighbours; default: all.")
    ] = None,
    similarities: Annotated[bool, typer.Option("--similarities", help="Add similarities, for cknna.")] = False,
    force: ReplaceOption = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Write a model's neighbour lists: all that a sweep needs to score it by metrics of neighbours."""
    from zooalign.indexes.index import Index
    from zooalign.sharing.lists import export_lists

    work, spec, name = _model(config, model, dataset)
    path = _free(output or Path(f"{spec.id}.{name}.neighbors.safetensors"), force)
    _check_done(work, "index_features", name, spec.id)
    index = Index.open(work.layout.index(name, spec.id), spec.id)
    export_lists(
        index, spec, path, k_max=k_max, similarities=similarities, provenance=_weights(work, spec)
    )  # fmt: skip
    kb = path.stat().st_size / 1e3 / index.n_layers
    print(f"wrote {path}: {index.n_layers} layers of {index.n} samples, {kb:.0f} kB a layer")


@app.command("features")
def export_features(
    model: ModelArgument,
    form: Annotated[
        str, typer.Option("--as", help="zarr (xarray), parquet or huggingface (folder with card).")
    ] = "zarr",
    dataset: DatasetOption = None,
    output: OutputOption = None,
    force: ReplaceOption = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Write a model's features for other tools, with sample ids, layer names, licence and provenance."""
    from zooalign.features.store import FeatureStore
    from zooalign.sharing import features

    work, spec, name = _model(config, model, dataset)
    suffix = {"zarr": ".zarr", "parquet": ".parquet"}.get(form, "")
    path = _free(output or Path(f"{spec.id}.{name}.features{suffix}"), force)
    _check_done(work, "extract_features", name, spec.id)
    store = FeatureStore.open(work.layout.features(name, spec.id))
    features.export_features(store, spec, path, form, _weights(work, spec))
    print(f"wrote {path}: {len(store.widths)} layers of {store.n} samples, {store.attributes['dtype']}")


@app.command("scores")
def export_scores(
    model: Annotated[str | None, typer.Argument(help="Id of a model; default: every pair of the sweep.")] = None,
    output: OutputOption = None,
    force: ReplaceOption = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Write scores of a model, or of the whole sweep, to one Parquet file."""
    from zooalign.sharing import scores

    work = _open(config)
    if model is not None:
        work.sweep.model(model)
    path = _free(output or Path(f"{model or 'sweep'}.scores.parquet"), force)
    n = scores.export_scores(_rows(work), path, {d: c for d, c in _contents(work).items() if c}, model)
    print(f"wrote {path}: {n} scores")


def import_file(
    file: Annotated[
        Path,
        typer.Argument(help="Neighbour lists, features (.pt, .npz, .safetensors, .h5, .parquet, .zarr) or scores."),
    ],
    dataset: Annotated[str | None, typer.Option(help="Dataset; default: as the file says.")] = None,
    model_id: Annotated[str | None, typer.Option("--id", help="Id of the model; default: the exporter's.")] = None,
    modality: Annotated[str | None, typer.Option(help="vision or language.")] = None,
    family: Annotated[str | None, typer.Option(help="Family of the model.")] = None,
    objective: Annotated[str | None, typer.Option(help="Training objective.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    parameters: Annotated[int | None, typer.Option(min=1, help="Number of parameters.")] = None,
    pooling: Annotated[str | None, typer.Option(help="How features were pooled; default: mean.")] = None,
    zoo: Annotated[Path, typer.Option(help="Zoo file that the row is written to.")] = Path(
        "config/zoo/imported.yaml"
    ),
    reorder: Annotated[bool, typer.Option("--reorder", help="Put rows into the dataset's order, by ids.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take rows without ids although they agree with no stored model.")
    ] = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Check results of others and take them into the sweep: a row in a zoo file, and the file beside it."""
    from zooalign.sharing.importing import Target, check_dataset, dataset_of, import_results
    from zooalign.sharing.scores import is_scores

    if not file.exists():
        raise ShareError(f"{file}: no such file or folder. Check its name.")
    work = _open(config)
    if is_scores(file):
        _import_scores(work, file)
        return
    name = check_dataset(dataset or dataset_of(file), file, work.sweep.config.datasets)
    target = Target(
        _samples(work, name), work.sweep.index_settings()["preparation"], zoo, work.sweep.zoo, _stored(work, name)
    )
    stated = {"modality": modality, "family": family, "objective": objective, "licence": licence,
              "parameters": parameters, "pooling": pooling}  # fmt: skip
    spec = import_results(
        file, target, _say, model_id=model_id, stated=stated, reorder=reorder, force=force
    )  # fmt: skip
    print(f"model {spec.id} is in {zoo}, imported for {name}")
    if not {spec.id} & {*work.sweep.zoo}:
        print(f"add {zoo} to zoo in {config} (and {spec.id} to models, unless that is all), then run the sweep")


def _import_scores(work: Work, file: Path) -> None:
    """Check scores of another sweep, keep them, and say how far they are from those of this one."""
    import shutil

    from zooalign.sharing.scores import compare, read_scores
    from zooalign.storage.atomic import replacing

    table = read_scores(file, _contents(work))
    kept = work.layout.results / "imported" / file.name
    with replacing(kept) as staged:
        shutil.copyfile(file, staged)
    found = compare(table, _rows(work))
    print(f"{len(table)} scores are in {kept}; {sum(one.n for one in found)} of them are of pairs of this sweep")
    for one in found:
        k = f"@{one.k}" if one.k else ""
        print(f"{one.metric}{k} on {one.dataset}: {one.n} pairs, largest difference {one.largest:.3g} ({one.pair})")


def _open(config: Path) -> Work:
    from zooalign.workflow.work import Work

    return Work(*open_config(config))


def _model(config: Path, model: str, dataset: str | None) -> tuple[Work, ModelSpec, str]:
    """The sweep, the row of a model that may be exported, and the dataset."""
    work = _open(config)
    spec, datasets = work.sweep.model(model), work.sweep.config.datasets
    if spec.intervention is not None:
        raise ConfigError(f"model {model!r} was changed on purpose: its results are not those of a released "
                          f"model, and are not exported. Export {spec.variant_of!r}.")  # fmt: skip
    if dataset is None and len(datasets) != 1:
        raise ConfigError(f"say which dataset with --dataset: {', '.join(datasets)}.")
    name = dataset or next(iter(datasets))
    if name not in datasets:
        raise ConfigError(unknown("dataset of the sweep", name, datasets))
    return work, spec, name


def _free(path: Path, force: bool) -> Path:
    if path.exists() and not force:
        raise ConfigError(f"{path}: is already there. Name another one with --output, or replace it with --force.")
    return path


def _check_done(work: Work, rule: str, dataset: str, model: str) -> None:
    from zooalign.workflow.work import Item

    verdict = work.check(Item(rule, (dataset, model)))
    if not verdict.is_done:
        raise ShareError(f"{model} on {dataset}: {rule} is {verdict.state} ({verdict.reason}). Run the sweep first.")


def _weights(work: Work, spec: ModelSpec) -> dict[str, Any]:
    """Where a model's weights are from, as their record says."""
    from zooalign.provenance import read_object

    try:
        record = read_object(work.layout.weights(spec.weights) / "weights.json")
    except (OSError, ValueError):
        record = {}
    known = {"source": spec.source, "download": spec.download, "weights_sha256": record.get("sha256"),
             "revision": record.get("revision") or spec.options.get("revision")}  # fmt: skip
    return {key: value for key, value in known.items() if value}


def _samples(work: Work, dataset: str) -> Any:
    from zooalign.data.samples import open_samples

    if work.content_digest(dataset) is None:
        folder = work.layout.dataset(dataset) / "dataset.json"
        raise ShareError(
            f"dataset {dataset!r} is not built, and the file cannot be checked: run `snakemake {folder}`."
        )
    return open_samples(work.layout.dataset(dataset))


def _contents(work: Work) -> dict[str, str | None]:
    return {name: work.content_digest(name) for name in work.sweep.config.datasets}


def _stored(work: Work, dataset: str) -> dict[str, Any]:
    """Indexes of the sweep on a dataset."""
    from zooalign.indexes.index import Index
    from zooalign.workflow.work import Item

    models = [
        m.id for m in work.sweep.compared(dataset) if work.check(Item("index_features", (dataset, m.id))).is_done
    ]
    opened = {model: Index.open(work.layout.index(dataset, model), model) for model in models}
    return {model: index for model, index in opened.items() if "neighbors" in index.holds}


def _rows(work: Work) -> list[Any]:
    """Rows of the matrix that are there."""
    from zooalign.results.read import read_rows

    paths = [
        work.layout.row(dataset, m.id) for dataset in work.sweep.datasets() for m in work.sweep.compared(dataset)
    ]
    return [read_rows(path) for path in paths if path.exists()]


def _say(line: str) -> None:
    print(line, file=sys.stderr)
