rule fetch_weights:
    output:
        f"{RESULTS}/weights/{{model}}/weights.json",
    log:
        f"{RESULTS}/logs/fetch_weights/{{model}}.log",
    params:
        digest=lambda w: SWEEP.model(w.model).weights_digest(),
    message:
        "Model {wildcards.model}: find, check and prepare weights"
    script:
        "../scripts/fetch_weights.py"


rule extract_features:
    input:
        weights=f"{RESULTS}/weights/{{model}}/weights.json",
        dataset=f"{RESULTS}/datasets/{{dataset}}/dataset.json",
    output:
        f"{RESULTS}/features/{{dataset}}/{{model}}.zarr/zarr.json",
    log:
        f"{RESULTS}/logs/extract_features/{{dataset}}/{{model}}.log",
    threads: SWEEP.config.extraction.threads
    params:
        digest=lambda w: SWEEP.features_digest(w.model, w.dataset),
    message:
        "Model {wildcards.model}: features on {wildcards.dataset}"
    script:
        "../scripts/extract_features.py"


rule index_features:
    input:
        f"{RESULTS}/features/{{dataset}}/{{model}}.zarr/zarr.json",
    output:
        f"{RESULTS}/indexes/{{dataset}}/{{model}}.zarr/zarr.json",
    log:
        f"{RESULTS}/logs/index_features/{{dataset}}/{{model}}.log",
    params:
        settings=SWEEP.index_settings(),
        digest=lambda w: SWEEP.index_digest(w.model, w.dataset),
    message:
        "Model {wildcards.model}: neighbours and Grams on {wildcards.dataset}"
    script:
        "../scripts/index_features.py"
