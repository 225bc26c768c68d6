rule build_dataset:
    output:
        f"{RESULTS}/datasets/{{dataset}}/dataset.json",
    log:
        f"{RESULTS}/logs/build_dataset/{{dataset}}.log",
    params:
        digest=lambda w: SWEEP.dataset(w.dataset).digest(),
    message:
        "Dataset {wildcards.dataset}: build"
    script:
        "../scripts/build_dataset.py"
