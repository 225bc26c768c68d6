rule measure_capability:
    input:
        waits_for("measure_capability"),
    output:
        receipt("measure_capability"),
    threads: SWEEP.config.extraction.threads
    resources:
        **asks_for("measure_capability"),
    message:
        "Capability {wildcards.block}"
    script:
        "../scripts/do_block.py"
