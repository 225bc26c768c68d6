rule align_row:
    input:
        lambda w: [
            f"{LAYOUT.index(w.dataset, m)}/zarr.json"
            for m in WORK.row_members(w.dataset, w.model)
        ],
    output:
        # update(): the table stays, and only its missing and stale pairs are computed. After a failed update
        # Snakemake restores the former table and takes it for done, so the receipt, an ordinary output that is
        # removed when the job fails, is what keeps the row due.
        table=update(f"{RESULTS}/alignment/{{dataset}}/{{model}}.parquet"),
        receipt=f"{RESULTS}/alignment/{{dataset}}/{{model}}.receipt.json",
    log:
        f"{RESULTS}/logs/align_row/{{dataset}}/{{model}}.log",
    params:
        row=lambda w: WORK.row_settings(w.dataset, w.model),
    message:
        "Model {wildcards.model}: align with its partners on {wildcards.dataset}"
    script:
        "../scripts/align_row.py"
