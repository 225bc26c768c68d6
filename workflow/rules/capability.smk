rule measure_capability:
    input:
        unpack(lambda w: WORK.capability_inputs(w.capability, w.model)),
    output:
        f"{RESULTS}/capability/{{capability}}/{{model}}.json",
    log:
        f"{RESULTS}/logs/measure_capability/{{capability}}/{{model}}.log",
    resources:
        mem_mb=lambda w, attempt: attempt * WORK.model_mem_mb(w.model),
    params:
        digest=lambda w: SWEEP.capability_digest(w.capability, w.model),
    message:
        "Model {wildcards.model}: {wildcards.capability}"
    script:
        "../scripts/measure_capability.py"
