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
