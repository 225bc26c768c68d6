# Indexes and rows of the sensitivity: those of the sweep, with a preparation as one more wildcard.
use rule index_features as index_prepared with:
    input:
        made_from="<results>/features/{dataset}/{model}.zarr/zarr.json",
        due=due("index_prepared"),
    output:
        update(
            "<results>/sensitivity/{preparation}/indexes/{dataset}/{model}.zarr/zarr.json"
        ),
    log:
        "<results>/logs/index_prepared/{preparation}/{dataset}/{model}.log",
    benchmark:
        "<results>/benchmarks/index_prepared/{preparation}/{dataset}/{model}.tsv"
    group:
        grouped("index_prepared")
    resources:
        **asks_for("index_prepared"),
    params:
        **given("index_prepared"),
        store=lambda w: str(WORK.store(w.dataset, w.model, w.preparation)),
    message:
        "Neighbours and kernels of {wildcards.model} on {wildcards.dataset}, {wildcards.preparation}"


use rule align_row as align_prepared with:
    input:
        indexes=needed("align_prepared"),
        due=due("align_prepared"),
    output:
        update(
            "<results>/sensitivity/{preparation}/alignment/{dataset}/{model}.parquet"
        ),
    log:
        "<results>/logs/align_prepared/{preparation}/{dataset}/{model}.log",
    benchmark:
        "<results>/benchmarks/align_prepared/{preparation}/{dataset}/{model}.tsv"
    group:
        grouped("align_prepared")
    resources:
        **asks_for("align_prepared"),
    params:
        **given("align_prepared"),
        receipt=lambda w: str(LAYOUT.receipt(w.dataset, w.model, w.preparation)),
    message:
        "Row of {wildcards.model} on {wildcards.dataset}, {wildcards.preparation}"
