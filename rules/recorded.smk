"""Which jobs have made what the report shows: what they took is told by files that Snakemake and they have left.
These are no inputs, since what a job took decides nothing. No rules here."""


def jobs_of_images():
    """(rule, wildcards) of what makes images."""
    for dataset in asked_folders:
        made = [("draw", "draw_images"), ("fetch", "fetch_images"), ("stylize", "gather_stylized")]
        yield from ((rule, {"dataset": dataset}) for key, rule in made if key in datasets[dataset])
    for stylizer in asked_stylizers:
        made = ["fetch_decoder"] if ("stylizers", stylizer) in fetched else []
        yield from ((rule, {"stylizer": stylizer}) for rule in [*made, "train_stylizer"])
    for dataset in asked_stylized:
        count = datasets[dataset]["shards"]
        yield from (
            ("stylize_images", {"dataset": dataset, "shard": n, "shards": count}) for n in range(count)
        )
    for dataset in dict.fromkeys([each["dataset"] for each in packed] + crafting):
        yield "pack_images", {"dataset": dataset}


def jobs_of_models():
    """The same of what makes weights, and what is made of the models alone."""
    for run in asked_runs:
        stages = [Path(file).stem for file in stage_checkpoints(run)]
        yield from (("train_stage", {"run": run, "epoch": epoch}) for epoch in stages)
        yield "export_weights", {"run": run}
    yield from (("fetch_weights", {"model": name}) for name in asked_models if "run" not in models[name])
    for attack in {tuple(attack[key] for key in ("perturbation", "variant")) for attack in attacks}:
        yield "craft_patch", dict(zip(("perturbation", "model"), attack))
    for each in {(each["dataset"], each["model"]) for each in scored}:
        yield from (
            (rule, dict(zip(("dataset", "model"), each))) for rule in ("map_saliency", "score_foreground")
        )
    yield from (("extract_tokens", each) for each in asked_tokens)


def jobs_of_studies():
    """The same of what studies ask for, with the first that does: (rule, wildcards, study)."""
    told = set()
    for study, entry in config["studies"].items():
        alone = config | {"studies": {study: entry}}
        asking = [
            ("predict", STRIP, settings.asked(alone, perturbations)),
            ("measure", MEASURED, settings.asked_measures(alone, measures)),
            ("probe", PROBES, settings.asked_readouts(alone, "transfers")),
            ("few_shot", FEW_SHOTS, settings.asked_readouts(alone, "few_shots")),
        ]
        for name, pattern, those in asking:
            for file, each in ((pattern.format(**each), each) for each in those):
                if file not in missing and not (file in told or told.add(file)):
                    yield name, each, study


def recorded_job(name, where, study=None):
    """What `recorded.jobs` is told of a job."""
    made_by = getattr(rules, name)
    kept = [key for key in ("dataset", "model", "perturbation", "variant", "measure") if key in where]
    told = {"rule": name, "study": study} | {key: where[key] for key in kept}
    told |= {"model": runs[where["run"]]["model"], "run": where["run"]} if "run" in where else {}
    told |= {"dataset": where[key] for key in ("transfer", "few_shot") if key in where}
    told |= {"part": str(where[key]) for key in ("epoch", "shard", "stylizer") if key in where}
    told |= {"benchmark": made_by.benchmark.format(**where), "log": made_by.log[0].format(**where)}
    if "gpu" not in made_by.rule.resources:
        told["device"] = "cpu"
    elif compute["device"] != "auto":
        told["device"] = DEVICE
    if name == "predict":
        told["cost"] = made_by.params.cost.format(**where)
        told["shard_benchmarks"] = os.path.dirname(rules.predict_shard.benchmark).format(**where)
    return told


def recorded_jobs():
    those = sorted([*jobs_of_images(), *jobs_of_models()], key=repr)
    return [recorded_job(*job) for job in [*those, *jobs_of_studies()]]
