rule build_dataset:
    output:
        receipt("build_dataset"),
    resources:
        **asks_for("build_dataset"),
    message:
        "Dataset {wildcards.block}: build"
    script:
        "../scripts/do_block.py"
