rule train_stage:
    """Some epochs of a run, from the checkpoint of the stage before: what a job loses is minutes."""
    input:
        unpack(training_inputs),
        folder=lambda w: ancient(image_folder(runs[w.run]["data"])),
        classes=lambda w: datasets[runs[w.run]["data"]].get("classes", []),
        listed=lambda w: image_list(runs[w.run]["data"]),
        resume=previous,
    output:
        "results/checkpoints/{run}/{epoch}.pt",
    log:
        "logs/train_stage/{run}/{epoch}.log",
    benchmark:
        "benchmarks/train_stage/{run}/{epoch}.jsonl"
    priority: 10  # long jobs first
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(16000),
        runtime=growing(480),
    params:
        origin=lambda w: run_origin(w.run),
        run=lambda w: runs[w.run],
        model=lambda w: facts(models[runs[w.run]["model"]]),
        helpers=lambda w: {key: facts(models[name]) for key, name in helping_models(w.run).items()},
        data=lambda w: facts(datasets[runs[w.run]["data"]]),
        store=lambda w: f"results/unfinished/{w.run}-{w.epoch}-{run_origin(w.run)}.pt",
        compute=training_compute,
    script:
        "../scripts/train_stage.py"


rule craft_patch:
    """Universal adversarial patches of one model: one of every size for every seed."""
    input:
        images=lambda w: patch_images("npy"),
        index=lambda w: patch_images("parquet"),
        weights=lambda w: weights(w.model),
    output:
        PATCHES,
    log:
        "logs/craft_patch/{perturbation}/{model}.log",
    benchmark:
        "benchmarks/craft_patch/{perturbation}/{model}.jsonl"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        gpu=gpus,
        mem_mb=growing(8000),
        runtime=growing(240),
    params:
        origin=lambda w: patches_origin(w.perturbation, w.model),
        model=lambda w: facts(models[w.model]),
        levels=lambda w: perturbation({"perturbation": w.perturbation, "variant": w.model})["levels"][1:],
        seeds=seeds,
        patches=lambda w: config["patches"],
        store=lambda w: f"results/crafted/{patches_origin(w.perturbation, w.model)}",
        compute={key: compute[key] for key in ("device", "channels_last")},
    script:
        "../scripts/craft_patch.py"


rule export_weights:
    """The weights at the end of a run, what they are, and how they came about."""
    input:
        lambda w: stage_checkpoints(w.run)[-1],
    output:
        weights="results/weights/trained/{run}.safetensors",
        facts="results/weights/trained/{run}.json",
        metrics="results/trainings/{run}.parquet",
    log:
        "logs/export_weights/{run}.log",
    benchmark:
        "benchmarks/export_weights/{run}.jsonl"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        code=program("export_weights.py"),
        origin=lambda w: run_origin(w.run),
        facts=lambda w: run_facts(w.run),
    script:
        "../scripts/export_weights.py"
