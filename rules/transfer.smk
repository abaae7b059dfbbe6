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
    params:
        origin=lambda w: tokens_origin(w.dataset, w.model),
        model=lambda w: facts(models[w.model]),
        compute=compute,
    script:
        "../scripts/extract_tokens.py"
