"""What a training reads, and what it depends on beside. No rules here."""


def stage_checkpoints(run):
    """The checkpoints of a run, one at the end of each stage."""
    epochs, stage = runs[run]["epochs"], runs[run]["stage"]
    return [f"results/checkpoints/{run}/{epoch}.pt" for epoch in range(stage, epochs + 1, stage)]


def helping_models(run):
    """The models that a run learns from or starts from, by key."""
    return {key: runs[run][key] for key in ("teacher", "initial") if key in runs[run]}


def training_inputs(wildcards):
    """What a run reads beside its images: held-out images, and weights of other models."""
    held_out = runs[wildcards.run].get("held_out")
    packed = {
        "held_out": f"results/images/{held_out}.npy",
        "held_out_index": f"results/images/{held_out}.parquet",
    }
    return (packed if held_out else {}) | {k: weights(m) for k, m in helping_models(wildcards.run).items()}


def previous(wildcards):
    """The checkpoint that a stage goes on from; the first goes on from nothing."""
    chain, asked_for = (
        stage_checkpoints(wildcards.run),
        f"results/checkpoints/{wildcards.run}/{wildcards.epoch}.pt",
    )
    if asked_for not in chain:
        raise WorkflowError(f"{asked_for} is not the end of a stage; there are {', '.join(chain)}")
    return chain[: chain.index(asked_for)][-1:]


training_compute = {
    key: compute[key] for key in ("device", "dtype", "channels_last", "training_images") if key in compute
}


@cache
def run_origin(run):
    entry = runs[run]
    data = [images_origin(entry["held_out"])] if "held_out" in entry else []
    data += [folder_origin(entry["data"]), facts(datasets[entry["data"]])]
    helpers = {key: weights_origin(model) for key, model in helping_models(run).items()}
    return digest(
        [entry, facts(models[entry["model"]]), data, helpers, compute["dtype"], program("train_stage.py")]
    )


def run_facts(run):
    """What is told of the weights of a run, beside what training has found."""
    entry = runs[run]
    return {
        "run": run,
        "model": facts(models[entry["model"]]),
        "recipe": entry,
        "data": facts(datasets[entry["data"]]),
        "data_digest": folder_origin(entry["data"]),
        "code_digest": program("train_stage.py"),
    }


def built(model):
    """What a network is built from, but for its weights."""
    return digest([model["timm"].split(".")[0], model.get("options", {}), model.get("size")])


def training_facts(name):
    """What the report tells of the training of a model, and what tells which trainings can be compared."""
    model, run = models[name], runs[models[name]["run"]]
    others = ("recipe", "model", "data", "held_out", "teacher", "stage")
    return {
        **{key: model.get(key) for key in ("run", "head")},
        **{key: run.get(key) for key in ("recipe", "data", "teacher")},
        "model": name,
        "architecture": built(model),
        "settings": digest({key: run[key] for key in sorted(run) if key not in others}),
    }
