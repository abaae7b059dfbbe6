"""What measures find: where it is and what decides it. No rules here."""

EXAMPLES = "results/examples/{dataset}/{model}/{measure}.safetensors"
PICTURE = "results/pictures/{dataset}/{measure}/{shown}.webp"

pictures = {}  # a picture, and what it is drawn of: a measure of one model, or of all models side by side
for each in (each for each in asked_measures if "shows" in measures[each["measure"]]):
    shown = "models" if measures[each["measure"]].get("side_by_side") else each["model"]
    pictures.setdefault(PICTURE.format(**each, shown=shown), []).append(each)


def measure_settings(measure):
    return measures[measure].get("settings", {}) | config.get("settings", {}).get(measure, {})


def reads_masks(measure):
    """Whether a measure reads folders of images and masks, instead of packed images."""
    return "masks" in measures[measure].get("needs", [])


def masks_facts(dataset):
    """Where the masks of a dataset are: arguments of folders.masked."""
    entry = datasets[dataset]
    told = {"masks": entry["masks"]} if "masks" in entry else {"columns": image_columns(dataset)}
    return told | ({"listed": entry["list"]} if "list" in entry else {})


@cache
def masked_images(dataset):
    """The images of the user's folder that have masks, with these masks."""
    try:
        taken = datasets[dataset].get("images")
        return [*folders.masked(image_folder(dataset), images=taken, **masks_facts(dataset))]
    except (ValueError, OSError) as error:
        raise WorkflowError(f"datasets.{dataset}: {error}")


@cache
def masks_origin(dataset):
    """The images of a dataset that have masks, and these masks."""
    entry = datasets[dataset]
    taken = [entry.get("images"), entry.get("void")]
    if not entries.is_own(entry):
        return digest([folder_origin(dataset), taken])
    pairs = masked_images(dataset)
    return digest([taken, [[path, str(mask), file_stamp(mask)] for path, mask in pairs]])


def measured_images(where):
    """What a measure reads: packed images and their index, or the folders of images and masks."""
    dataset = where.dataset
    if not reads_masks(where.measure):
        return {"images": f"results/images/{dataset}.npy", "index": f"results/images/{dataset}.parquet"}
    given = {"folder": image_folder(dataset), **masks_facts(dataset)}
    # What is in folders is in `origin`; their times say nothing.
    return given | {key: ancient(given[key]) for key in ("folder", "masks") if key in given}


@cache
def measure_origin(dataset, model, measure):
    code = program("measure.py", f"patchwork/measures/{measure}.py")
    decides = [measure_settings(measure), seeds, compute["dtype"], facts(models[model])]
    images = masks_origin(dataset) if reads_masks(measure) else images_origin(dataset)
    return digest([images, weights_origin(model), decides, code])


def drawn_of(where):
    """The measures that a picture is drawn of."""
    return pictures[PICTURE.format(**where)]


def picture_facts(shown):
    """What the caption of a picture tells of the measures that it is drawn of."""
    told = {key: shown[0][key] for key in ("dataset", "measure")}
    return told | {"models": [each["model"] for each in shown], "shows": measures[told["measure"]]["shows"]}
