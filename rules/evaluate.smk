# What decides a strip, for the job that computes it and for those that compute shares of it.
COMPUTED = {
    "code": lambda w: perturbation_program("predict.py", w),
    "origin": strip_origin,
    "needs": needs_origin,
    "model": lambda w: facts(models[w.model]),
    "cells": lambda w: strip_cells(w),
    "settings": lambda w: perturbation(w).get("settings", {}),
    "compute": compute,
    "store": "results/cells",
}


rule predict:
    """A strip of the grid: one model, one dataset, every level and seed of one perturbation."""
    input:
        unpack(needs),
        images="results/images/{dataset}.npy",
        index="results/images/{dataset}.parquet",
        weights=lambda w: weights(w.model),
        shards=strip_shards,
    output:
        STRIP,
    log:
        "logs/predict/{dataset}/{model}/{perturbation}/{variant}.log",
    benchmark:
        "benchmarks/predict/{dataset}/{model}/{perturbation}/{variant}.jsonl"
    group:
        submission
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=runtime_minutes,
    params:
        **COMPUTED,
        cost="results/costs/{dataset}/{model}/{perturbation}/{variant}.json",
    script:
        "../scripts/predict.py"


rule predict_shard:
    """A share of the images of a long strip, left in the store as parts: what is there, `predict` finds."""
    input:
        unpack(needs),
        images="results/images/{dataset}.npy",
        index="results/images/{dataset}.parquet",
        weights=lambda w: weights(w.model),
    output:
        temp(SHARD),
    log:
        "logs/predict_shard/{dataset}/{model}/{perturbation}/{variant}/{shard}-{shards}.log",
    benchmark:
        "benchmarks/predict_shard/{dataset}/{model}/{perturbation}/{variant}/{shard}-{shards}.jsonl"
    priority: 1  # the longest jobs of the grid
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=runtime_minutes,
    params:
        **COMPUTED,
        strip=STRIP,
        cost="results/costs/{dataset}/{model}/{perturbation}/{variant}/{shard}-{shards}.json",
    script:
        "../scripts/predict_shard.py"


rule draw_sheet:
    """What the models saw: the same few images under every level of a perturbation."""
    input:
        unpack(needs),
        images="results/images/{dataset}.npy",
        index="results/images/{dataset}.parquet",
        weights=lambda w: [weights(name) for name in sheet_models(w)],
    output:
        report(SHEET, caption="../reports/caption.rst", category="What the models saw"),
    log:
        "logs/draw_sheet/{dataset}/{perturbation}/{variant}.log",
    benchmark:
        "benchmarks/draw_sheet/{dataset}/{perturbation}/{variant}.jsonl"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        code=lambda w: perturbation_program("draw_sheet.py", w),
        origin=lambda w: [images_origin(w.dataset), *(weights_origin(name) for name in sheet_models(w))],
        needs=needs_origin,
        models=lambda w: {name: facts(models[name]) for name in sheet_models(w)},
        settings=lambda w: perturbation(w).get("settings", {}),
        levels=lambda w: perturbation(w)["levels"],
        seed=seeds[0],
        caption="The same images as rows, from the untouched image at the left to the last level at the right.",
    script:
        "../scripts/draw_sheet.py"


rule clear_cells:
    """Delete the stored cells that no strip of this config uses. Only runs when asked for by name."""
    input:
        paths(STRIP),
    log:
        "logs/clear_cells.log",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        store="results/cells",
    script:
        "../scripts/clear_cells.py"
