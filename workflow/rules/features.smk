rule fetch_weights:
    input:
        # Removals that make room for it (weights_gib).
        after=room_for,
        due=due("fetch_weights"),
    output:
        update("<results>/weights/{model}/weights.json"),
    log:
        "<results>/logs/fetch_weights/{model}.log",
    benchmark:
        "<results>/benchmarks/fetch_weights/{model}.tsv"
    localrule: FETCHED_HERE
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("fetch_weights"),
    params:
        **given("fetch_weights"),
    message:
        "Weights of {wildcards.model}: find, check and prepare"
    script:
        "../scripts/fetch_weights.py"


rule remove_weights:
    input:
        weights="<results>/weights/{model}/weights.json",
        readers=readers_of,
        due=due("remove_weights"),
    output:
        update("<results>/weights/{model}.removed.json"),
    log:
        "<results>/logs/remove_weights/{model}.log",
    benchmark:
        "<results>/benchmarks/remove_weights/{model}.tsv"
    # Before anything that could be fetched instead.
    priority: 10
    localrule: True
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("remove_weights"),
    params:
        **given("remove_weights"),
    message:
        "Weights of {wildcards.model}: remove what was fetched"
    script:
        "../scripts/remove_weights.py"


rule extract_features:
    input:
        dataset="<results>/datasets/{dataset}/dataset.json",
        # Of a variant those of its row.
        weights=weights_for("extract_features"),
        due=due("extract_features"),
    output:
        update("<results>/features/{dataset}/{model}.zarr/zarr.json"),
    log:
        "<results>/logs/extract_features/{dataset}/{model}.log",
    benchmark:
        "<results>/benchmarks/extract_features/{dataset}/{model}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: SWEEP.config.extraction.threads
    resources:
        **asks_for("extract_features"),
    params:
        **given("extract_features"),
        weights=lambda w: WORK.weights_folder(w.model),
    message:
        "Features of {wildcards.model} on {wildcards.dataset}"
    script:
        "../scripts/extract_features.py"


rule index_features:
    input:
        # Features; the dataset where neighbour lists were imported.
        made_from=needed("index_features"),
        due=due("index_features"),
    output:
        update("<results>/indexes/{dataset}/{model}.zarr/zarr.json"),
    log:
        "<results>/logs/index_features/{dataset}/{model}.log",
    benchmark:
        "<results>/benchmarks/index_features/{dataset}/{model}.tsv"
    group:
        grouped("index_features")
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("index_features"),
    params:
        **given("index_features"),
        store=lambda w: str(WORK.store(w.dataset, w.model)),
        dataset=lambda w: str(LAYOUT.dataset(w.dataset)),
    message:
        "Neighbours and kernels of {wildcards.model} on {wildcards.dataset}"
    script:
        "../scripts/index_features.py"
