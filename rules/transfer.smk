rule extract_tokens:
    """The tokens of every block of one model for every image of one dataset, from one pass."""
    input:
        images="results/images/{dataset}.npy",
        index="results/images/{dataset}.parquet",
        weights=lambda w: weights(w.model),
    output:
        tokens=TOKENS,
        facts="results/tokens/{dataset}/{model}.json",
    log:
        "logs/extract_tokens/{dataset}/{model}.log",
    benchmark:
        "benchmarks/extract_tokens/{dataset}/{model}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        origin=lambda w: tokens_origin(w.dataset, w.model),
        model=lambda w: facts(models[w.model]),
        compute=compute,
    script:
        "../scripts/extract_tokens.py"


rule probe:
    """Linear classifiers of other classes than a model's own, on readouts of its frozen tokens."""
    input:
        unpack(probe_inputs),
        weights=lambda w: weights(w.model),  # and images: for other statistics of batch normalisation
    output:
        PROBES,
    log:
        "logs/probe/{transfer}/{model}.log",
    benchmark:
        "benchmarks/probe/{transfer}/{model}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(16000),
        runtime=growing(240),
    params:
        origin=lambda w: probe_origin(w.transfer, w.model),
        parts=lambda w: list(transfer_datasets(w.transfer)),
        shares=lambda w: transfer_shares(w.transfer),
        model=lambda w: facts(models[w.model]),
        compute=compute,
    script:
        "../scripts/probe.py"


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
    resources:
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        origin=lambda w: few_shot_origin(w.few_shot, w.model),
        entry=lambda w: few_shots[w.few_shot],
        seeds=seeds,
    script:
        "../scripts/few_shot.py"
