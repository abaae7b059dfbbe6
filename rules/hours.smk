"""What a run is expected to take, told before it. No rules here."""


def work(model, passes, made):
    """What takes so many passes of a model, in equal parts, each done when its file is there."""
    there = sum(map(os.path.isfile, made)) / len(made)
    return {"model": model, "passes": passes, "left": round(passes * (1 - there))}


def measure_passes(dataset, measure):
    """How many passes a measure of a dataset takes."""
    entry = measures[measure]
    own_masks = reads_masks(measure) and entries.is_own(datasets[dataset])
    images = len(masked_images(dataset)) if own_masks else image_count(dataset)
    return images * (entry.get("passes", 1) + entry.get("passes_per_seed", 0) * len(seeds))


def study_work(study):
    """The work of a study beside its strips: of its measures, and of the tokens that it reads: {file: work}."""
    alone, found = config | {"studies": {study: config["studies"][study]}}, {}
    for each in settings.asked_measures(alone, measures):
        passes = measure_passes(each["dataset"], each["measure"])
        found[MEASURED.format(**each)] = each["model"], passes
    readouts = (settings.asked_readouts(alone, kind) for kind in ("transfers", "few_shots"))
    for each in tokens_read(*readouts):
        found[TOKENS.format(**each)] = each["model"], image_count(each["dataset"])
    return {file: work(model, passes, [file]) for file, (model, passes) in found.items()}


@cache
def beside_strips():
    """The work of each study beside its strips, what several ask for at the first of them; and that of trainings,
    a step of which is three passes: {row of the table: [work]}."""
    rows, told = {}, set()
    for study in config["studies"]:
        found = study_work(study)
        rows[study] = [found[file] for file in sorted(found.keys() - told)]
        told |= found.keys()
    trainings = rows.setdefault("trainings", [])
    for run in asked_runs:
        passes = 3 * image_count(runs[run]["data"]) * runs[run]["epochs"]
        trainings.append(work(runs[run]["model"], passes, stage_checkpoints(run)))
    return rows


def tell(found, rates):
    """Say on the terminal what a run is expected to take, if that is asked for or worth a look."""
    rows, told = {}, set()
    for row, others in beside_strips().items():
        alone = config | {"studies": {row: config["studies"].get(row, {"models": []})}}
        names = map(strip_name, settings.asked(alone, perturbations))
        jobs = [found[name] for name in names if name in found and not (name in told or told.add(name))]
        jobs += [each | {"seconds": rates.alone(each["model"])} for each in others]
        if jobs:
            left, passes = [job for job in jobs if job["left"]], sum(job["passes"] for job in jobs)
            seconds = [sum(job[kind] * job["seconds"] for job in jobs) for kind in ("passes", "left")]
            rows[row] = len(jobs), len(left), passes, *seconds
    if not workflow.dryrun and sum(row[-1] for row in rows.values()) < JOB_SECONDS:
        return
    those = {each["model"] for each in [*asked, *sum(beside_strips().values(), [])]}
    known, counted = sum(map(rates.measured, those)), len(rates.operations)
    logger.info("\n".join(costs.table(rows, "CPU hours" if DEVICE == "cpu" else "GPU hours")))
    logger.info(
        f"{known} of {len(those)} models were measured; of {counted} networks operations were counted, at "
        f"{rates.teraflops:g} TFLOP/s. Not in it: teachers, the further crops of DINO, fitting readouts, stylizing, "
        "crafting patches.\n"
    )
