"""Where things are written, and which of them the studies need. No rules here."""


def here(path):
    """A file of the workflow, as an input."""
    return os.path.normpath(f"{HERE}/{path}")


def paths(pattern, strips=asked):
    """The files of a pattern over the strips, each once."""
    return list(dict.fromkeys(pattern.format(**strip) for strip in strips))


STRIP = "results/predictions/{dataset}/{model}/{perturbation}/{variant}.parquet"
SHEET = "results/sheets/{dataset}/{perturbation}/{variant}.webp"

sheets = {SHEET.format(**strip): strip for strip in reversed(asked)}  # of the first model that is asked


def needs(wildcards):
    """The files that a perturbation lists in NEEDS."""
    listed = perturbation(f"{wildcards.perturbation}/{wildcards.variant}").get("needs", [])
    return {need: NEEDS[need](wildcards) for need in listed}


# What a perturbation may need beside images: where it is, by wildcards.
NEEDS = {}


def sheet_models(wildcards):
    """The model through which a sheet is seen, [name]; [] if its perturbation looks at pixels alone."""
    sheet = SHEET.format(**wildcards)
    looks = "model" in perturbation(f"{wildcards.perturbation}/{wildcards.variant}")
    return [sheets[sheet]["model"] if sheet in sheets else asked_models[0]] if looks else []


def weights(name):
    """Trained here if the model names a run, fetched otherwise."""
    run = models[name].get("run")
    return (
        f"results/weights/trained/{run}.safetensors" if run else f"results/weights/fetched/{name}.safetensors"
    )


def checkpoints(run):
    """The checkpoints of a run, one at the end of each stage."""
    epochs, stage = runs[run]["epochs"], runs[run]["stage"]
    return [f"results/checkpoints/{run}/{epoch}.pt" for epoch in [*range(stage, epochs, stage), epochs]]


def everything():
    """All files that the studies need, by name: what a failed rerun has lost is made again
    only if it is asked for."""
    return [
        *(image_folder(dataset) for dataset in asked_folders),
        *paths("results/images/{dataset}.npy"),
        *paths("results/images/{dataset}.parquet"),
        *(checkpoints(run)[-1] for run in asked_runs),
        *(weights(model) for model in asked_models),
        *paths(STRIP),
        *sheets,
        "results/warehouse.duckdb",
        *(f"results/figures/{figure}.json" for figure in figures),
    ]


def previous(wildcards):
    """The checkpoint that a stage goes on from; the first goes on from nothing."""
    chain, asked_for = checkpoints(wildcards.run), f"results/checkpoints/{wildcards.run}/{wildcards.epoch}.pt"
    if asked_for not in chain:
        raise WorkflowError(f"{asked_for} is not the end of a stage; there are {', '.join(chain)}")
    return chain[: chain.index(asked_for)][-1:]


def image_folder(dataset):
    """A folder of images per class: the user's, or one that is drawn here."""
    entry = datasets[dataset]
    return f"results/folders/{dataset}/images" if "draw" in entry else entry["root"]


def image_columns(dataset):
    """A CSV with further columns of the index, if there is one."""
    entry = datasets[dataset]
    return f"results/folders/{dataset}/index.csv" if "draw" in entry else entry.get("columns", [])


def sheet_facts(strip):
    """What the caption of a sheet tells."""
    entry = perturbations["{perturbation}/{variant}".format(**strip)]
    seen_by = {"model": strip["model"]} if "model" in entry else {}
    keys = ("dataset", "perturbation", "variant", "levels")
    told = {"axis": entry["axis"], "shows": entry.get("shows", "")}
    return {key: strip[key] for key in keys} | told | seen_by
