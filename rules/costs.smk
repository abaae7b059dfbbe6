"""What strips are expected to take, and how that cuts them into jobs. No rules here."""

import math

from snakemake.logging import logger

from patchwork import costs, files

SHARD = "results/shards/{dataset}/{model}/{perturbation}/{variant}/{shard}-{shards}.txt"
JOB_SECONDS = config["compute"]["job_minutes"] * 60
# A profile may ask for a GPU where the config does not.
GPU_ASKED = "gpu" in workflow.resource_settings.overwrite_resources.get("predict", {})
DEVICE = costs.device(compute["device"], GPU_ASKED)


def strip_name(where):
    return "{dataset}/{model}/{perturbation}/{variant}".format(**where)


@cache
def published_sets():
    """What is known of published sets of images: {name: {classes, files, ...}}."""
    return yaml.safe_load(Path(HERE, "rules/datasets.yaml").read_text())


@cache
def image_count(dataset):
    """How many images a dataset has, or will have at most; 0 if that is not known before they are fetched."""
    entry, index = datasets[dataset], f"results/images/{dataset}.parquet"
    if os.path.isfile(index):
        import pyarrow.parquet

        try:
            with files.reading(index):
                return pyarrow.parquet.read_metadata(index).num_rows
        except ValueError as error:
            raise WorkflowError(str(error))
    if entries.is_own(entry):
        return len(listing(entry["root"], entry.get("images"), entry.get("list")))
    if "stylize" in entry:
        return entry.get("images") or image_count(entry["stylize"])
    if "images" in entry or "expects" not in entry:
        return entry.get("images", 0)
    return published_sets()[entry["expects"]]["files"]


def missing_cells(strip, told):
    """How many cells of a strip its job has to compute, as far as is known without its weights."""
    cells = strip_cells(strip)
    there = os.path.isfile(STRIP.format(**strip)) and told.get("origin") == strip_origin(strip)
    return len({*cells} - {tuple(cell) for cell in told.get("cells", [])}) if there else len(cells)


@cache
def expected():
    """What each strip takes: {name: {passes, left (of them), seconds (of a pass), shards}}. Told by what
    earlier jobs have left, and to who starts the workflow on the terminal."""
    notes, found = costs.notes("results/costs"), {}
    told = {"/".join(names): note for names, note in notes}
    for strip in asked:
        name, images = strip_name(strip), image_count(strip["dataset"])
        left = missing_cells(strip, told.get(name, {}))
        found[name] = {"passes": images * len(strip_cells(strip)), "left": images * left}
    rates = costs.Rates(notes, DEVICE, config["compute"], perturbations, models)
    work = [strip | found[strip_name(strip)] for strip in asked] + sum(beside_strips().values(), [])
    long = {each["model"] for each in work if each["passes"] >= costs.FEW_PASSES}
    rates.count(long, f"{HERE}/rules/operations.json", ".snakemake/operations.json", f"{HERE}/scripts")
    for strip in asked:
        entry, most = found[strip_name(strip)], image_count(strip["dataset"]) // compute["batch_images"]
        entry["seconds"] = rates.seconds(strip)
        entry["shards"] = costs.shards(entry["left"] * entry["seconds"], JOB_SECONDS, most)
    tell(found, rates)
    return found


@cache
def submissions():
    """The short strips of one dataset and model that a cluster gets at once, to be computed one after the other,
    and likewise the long ones, that only wait for their shards: {name of a strip: group}."""
    waiting, groups = {}, {}
    for strip in asked:
        name, entry = strip_name(strip), expected()[strip_name(strip)]
        short = entry["shards"] == 1
        if entry["left"]:
            # Together only those that wait for the same kinds of files.
            key = (strip["dataset"], strip["model"], *(needs(strip) if short else ["shards"]))
            waiting.setdefault(key, {})[name] = entry["left"] * entry["seconds"] if short else 0
    for key, strips in waiting.items():
        for number, batch in enumerate(costs.batches(strips, JOB_SECONDS)):
            groups |= dict.fromkeys(batch, "-".join([*key, str(number)])) if len(batch) > 1 else {}
    return groups


def submission(where):
    """The group of a strip. Its name is new in each run; to --group-components it is `submission`."""
    group = submissions().get(strip_name(where))
    if group:
        workflow.parent_groupids[group] = "submission"
    return group


def strip_shards(where):
    """The marks of the shards of a long strip. Who starts the workflow waits for them; the job itself takes
    whatever is in the store."""
    shards = expected().get(strip_name(where), {}).get("shards", 1) if workflow.is_main_process else 1
    return (
        [SHARD.format(**where, shard=shard, shards=shards) for shard in range(shards)] if shards > 1 else []
    )


def runtime_minutes(where, attempt):
    """Time that a cluster is asked for: three times what is expected, and some for the start; more each time."""
    entry = expected().get(strip_name(where), {}) if workflow.is_main_process else {}
    seconds = entry.get("left", 0) * entry.get("seconds", 0) or JOB_SECONDS
    shards = int(where.get("shards", entry.get("shards", 1)))  # or `predict`, which finds what they leave
    return attempt * (10 + math.ceil(3 * seconds / shards / 60))
