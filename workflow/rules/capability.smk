rule measure_capability:
    input:
        dataset=needed("measure_capability", 0),
        # Weights, or features where the kind of capability reads those.
        weights=weights_for("measure_capability"),
        features=needed("measure_capability", "extract_features"),
        due=due("measure_capability"),
    output:
        update("<results>/capability/{capability}/{model}.json"),
    log:
        "<results>/logs/measure_capability/{capability}/{model}.log",
    benchmark:
        "<results>/benchmarks/measure_capability/{capability}/{model}.tsv"
    group:
        grouped("measure_capability")
    conda:
        "../../envs/cpu.yaml"
    threads: SWEEP.config.extraction.threads
    resources:
        **asks_for("measure_capability"),
    params:
        **given("measure_capability"),
        source=lambda w: WORK.source_folder(w.capability, w.model),
    message:
        "Capability {wildcards.capability} of {wildcards.model}"
    script:
        "../scripts/measure_capability.py"
