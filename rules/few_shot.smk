rule few_shot:
    """Classifiers that learn from a few images of other classes than a model's own, on its frozen tokens."""
    input:
        unpack(few_shot_inputs),
    output:
        FEW_SHOTS,
    log:
        "logs/few_shot/{few_shot}/{model}.log",
    benchmark:
        "benchmarks/few_shot/{few_shot}/{model}.jsonl"
    conda:
        "../envs/torch.yaml"
    params:
        origin=lambda w: few_shot_origin(w.few_shot, w.model),
        entry=lambda w: few_shots[w.few_shot],
        seeds=seeds,
    script:
        "../scripts/few_shot.py"
