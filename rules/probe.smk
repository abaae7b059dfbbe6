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
    threads: 2
    resources:
        gpu=gpus,
    params:
        origin=lambda w: probe_origin(w.transfer, w.model),
        parts=lambda w: list(transfer_datasets(w.transfer)),
        shares=lambda w: transfer_shares(w.transfer),
        model=lambda w: facts(models[w.model]),
        compute=compute,
    script:
        "../scripts/probe.py"
