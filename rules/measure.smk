rule measure:
    """What one measure finds in one model on one dataset: a table, and arrays of a few images for pictures."""
    input:
        unpack(measured_images),
        weights=lambda w: weights(w.model),
    output:
        table=MEASURED,
        examples=EXAMPLES,
    log:
        "logs/measure/{dataset}/{model}/{measure}.log",
    benchmark:
        "benchmarks/measure/{dataset}/{model}/{measure}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: lambda w: measures[w.measure].get("threads", 1)
    resources:
        gpu=gpus,
        mem_mb=growing(16000),
        runtime=growing(120),
    params:
        origin=lambda w: measure_origin(w.dataset, w.model, w.measure),
        model=lambda w: facts(models[w.model]),
        settings=lambda w: measure_settings(w.measure),
        labels=lambda w: "labels" in measures[w.measure].get("needs", []),
        taken=lambda w: {key: datasets[w.dataset].get(key) for key in ("images", "void")},
        seeds=seeds,
        compute=compute,
    script:
        "../scripts/measure.py"


rule draw_examples:
    """What a measure has kept of a few images, of one model or of all side by side, as a picture."""
    input:
        lambda w: paths(EXAMPLES, drawn_of(w)),
    output:
        report(PICTURE, caption="../reports/caption.rst", category="Inside the models"),
    log:
        "logs/draw_examples/{dataset}/{measure}/{shown}.log",
    benchmark:
        "benchmarks/draw_examples/{dataset}/{measure}/{shown}.jsonl"
    wildcard_constraints:
        shown="[a-z0-9_]+",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        code=lambda w: program("draw_examples.py", f"patchwork/measures/{w.measure}.py"),
        origin=lambda w: [
            measure_origin(each["dataset"], each["model"], each["measure"]) for each in drawn_of(w)
        ],
        models=lambda w: [each["model"] for each in drawn_of(w)],
        caption=lambda w: measures[w.measure]["shows"],
    script:
        "../scripts/draw_examples.py"
