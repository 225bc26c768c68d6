def result_files():
    """Everything that the sweep is for."""
    return WORK.table_files() + WORK.figure_files()


rule make_tables:
    input:
        rows=WORK.row_tables(),
        receipts=WORK.receipts(),
        capabilities=WORK.capabilities(),
    output:
        WORK.table_files(),
    log:
        f"{RESULTS}/logs/make_tables/tables.log",
    params:
        digest=WORK.results_digest(),
    message:
        "Tables"
    script:
        "../scripts/make_tables.py"


rule make_figures:
    input:
        rows=WORK.row_tables(),
        receipts=WORK.receipts(),
        capabilities=WORK.capabilities(),
    output:
        WORK.figure_files(),
    log:
        f"{RESULTS}/logs/make_figures/figures.log",
    params:
        digest=WORK.results_digest(),
    message:
        "Figures"
    script:
        "../scripts/make_figures.py"
