rule make_tables:
    input:
        waits_for("make_tables"),
    output:
        receipt("make_tables"),
    resources:
        **asks_for("make_tables"),
    message:
        "Tables"
    script:
        "../scripts/do_block.py"


rule make_figures:
    input:
        waits_for("make_figures"),
    output:
        receipt("make_figures"),
    resources:
        **asks_for("make_figures"),
    message:
        "Figures"
    script:
        "../scripts/do_block.py"
