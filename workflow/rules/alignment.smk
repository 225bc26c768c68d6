rule align_row:
    input:
        indexes=needed("align_row"),
        due=due("align_row"),
    output:
        update("<results>/alignment/{dataset}/{model}.parquet"),
    log:
        "<results>/logs/align_row/{dataset}/{model}.log",
    benchmark:
        "<results>/benchmarks/align_row/{dataset}/{model}.tsv"
    group:
        grouped("align_row")
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("align_row"),
    params:
        **given("align_row"),
        receipt=lambda w: f"{RESULTS}/alignment/{w.dataset}/{w.model}.receipt.json",
    message:
        "Row of {wildcards.model} on {wildcards.dataset}: align it with its partners"
    script:
        "../scripts/align_row.py"


rule infer_row:
    input:
        # For its groups.
        dataset=needed("infer_row", "build_dataset"),
        indexes=needed("infer_row", "index_features"),
        due=due("infer_row"),
    output:
        update("<results>/inference/{dataset}/{model}.parquet"),
    log:
        "<results>/logs/infer_row/{dataset}/{model}.log",
    benchmark:
        "<results>/benchmarks/infer_row/{dataset}/{model}.tsv"
    group:
        grouped("infer_row")
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("infer_row"),
    params:
        **given("infer_row"),
        receipt=lambda w: f"{RESULTS}/inference/{w.dataset}/{w.model}.receipt.json",
    message:
        "Row of {wildcards.model} on {wildcards.dataset}: nulls and intervals"
    script:
        "../scripts/infer_row.py"
