"""What measures find: where it is and what decides it. No rules here."""

MEASURED = "results/measures/{dataset}/{model}/{measure}.parquet"
EXAMPLES = "results/examples/{dataset}/{model}/{measure}.safetensors"
PICTURE = "results/pictures/{dataset}/{measure}/{shown}.webp"

pictures = {}  # a picture, and what it is drawn of: a measure of one model, or of all models side by side
for each in (each for each in asked_measures if "shows" in measures[each["measure"]]):
    shown = "models" if measures[each["measure"]].get("side_by_side") else each["model"]
    pictures.setdefault(PICTURE.format(**each, shown=shown), []).append(each)


def measure_settings(measure):
    return measures[measure].get("settings", {}) | config.get("settings", {}).get(measure, {})


@cache
def measure_origin(dataset, model, measure):
    code = program("measure.py", f"patchwork/measures/{measure}.py")
    decides = [measure_settings(measure), seeds, compute["dtype"], facts(models[model])]
    return digest([images_origin(dataset), weights_origin(model), decides, code])


def drawn_of(where):
    """The measures that a picture is drawn of."""
    return pictures[PICTURE.format(**where)]


def picture_facts(shown):
    """What the caption of a picture tells of the measures that it is drawn of."""
    told = {key: shown[0][key] for key in ("dataset", "measure")}
    return told | {"models": [each["model"] for each in shown], "shows": measures[told["measure"]]["shows"]}
