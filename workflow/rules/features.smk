rule fetch_weights:
    output:
        receipt("fetch_weights"),
    resources:
        **asks_for("fetch_weights"),
    message:
        "Weights {wildcards.block}: find, check and prepare"
    script:
        "../scripts/do_block.py"


rule extract_features:
    input:
        waits_for("extract_features"),
    output:
        receipt("extract_features"),
    threads: SWEEP.config.extraction.threads
    resources:
        **asks_for("extract_features"),
    message:
        "Features {wildcards.block}"
    script:
        "../scripts/do_block.py"


rule index_features:
    input:
        waits_for("index_features"),
    output:
        receipt("index_features"),
    resources:
        **asks_for("index_features"),
    message:
        "Neighbours and Grams {wildcards.block}"
    script:
        "../scripts/do_block.py"
