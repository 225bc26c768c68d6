# A rule per table, because tables have different files; the figures of a dataset have the same.
for table in SWEEP.config.tables:

    rule:
        name:
            f"make_table_{table}"
        input:
            rows=FILES["align_row"],
            inference=FILES["infer_row"],
            capabilities=FILES["measure_capability"],
            cells=session.cell_rows(WORK, Item("make_tables", (table,))),
            due=due("make_tables", table),
        output:
            *reported("make_tables", table),
        log:
            f"<results>/logs/make_tables/{table}.log",
        benchmark:
            f"<results>/benchmarks/make_tables/{table}.tsv"
        conda:
            "../../envs/cpu.yaml"
        resources:
            **asks_for("make_tables", table),
        params:
            **given("make_tables", table),
        message:
            f"Table {table}"
        script:
            "../scripts/make_result.py"


rule make_figure:
    input:
        rows=FILES["align_row"],
        inference=FILES["infer_row"],
        capabilities=FILES["measure_capability"],
        cells=needed("make_figures", "align_prepared"),
        due=due("make_figures"),
    output:
        *reported("make_figures"),
    log:
        "<results>/logs/make_figures/{figure}/{dataset}.log",
    benchmark:
        "<results>/benchmarks/make_figures/{figure}/{dataset}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("make_figures"),
    params:
        **given("make_figures"),
    message:
        "Figure {wildcards.figure} of {wildcards.dataset}"
    script:
        "../scripts/make_result.py"


rule make_report:
    input:
        rows=FILES["align_row"],
        inference=FILES["infer_row"],
        capabilities=FILES["measure_capability"],
        cells=FILES["align_prepared"],
        tables=FILES["make_tables"],
        due=due("make_report", "report"),
    output:
        *reported("make_report", "report"),
    log:
        "<results>/logs/make_report/report.log",
    benchmark:
        "<results>/benchmarks/make_report/report.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        **asks_for("make_report", "report"),
    params:
        **given("make_report", "report"),
    message:
        "Report"
    script:
        "../scripts/make_report.py"


rule make_tables:
    input:
        FILES["make_tables"],
    localrule: True
    message:
        "All tables"


rule make_figures:
    input:
        FILES["make_figures"],
    localrule: True
    message:
        "All figures"
