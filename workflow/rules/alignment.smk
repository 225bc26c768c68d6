rule align_row:
    input:
        waits_for("align_row"),
    output:
        receipt("align_row"),
    resources:
        **asks_for("align_row"),
    message:
        "Rows {wildcards.block}: align models with their partners"
    script:
        "../scripts/do_block.py"
