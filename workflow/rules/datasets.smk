rule build_dataset:
    input:
        due=due("build_dataset"),
    output:
        update("<results>/datasets/{dataset}/dataset.json"),
    log:
        "<results>/logs/build_dataset/{dataset}.log",
    benchmark:
        "<results>/benchmarks/build_dataset/{dataset}.tsv"
    localrule: FETCHED_HERE
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("build_dataset"),
    params:
        **given("build_dataset"),
    message:
        "Dataset {wildcards.dataset}: build"
    script:
        "../scripts/build_dataset.py"
