"""Where things are written, and which of them the studies need. No rules here."""


def here(path):
    """A file of the workflow, as an input."""
    return os.path.normpath(f"{HERE}/{path}")


def paths(pattern, strips=asked):
    """The files of a pattern over the strips, each once."""
    return list(dict.fromkeys(pattern.format(**strip) for strip in strips))


PATCHES = "results/patches/{perturbation}/{model}.safetensors"

# The datasets whose features are kept.
transferred = sorted(
    {
        dataset
        for kind, name in needed
        if kind in ("transfers", "few_shots")
        for _, dataset in entries.made_from(config, kind, name)
    }
)
packed = [
    *asked,
    *(each for each in asked_measures if "masks" not in measures[each["measure"]].get("needs", [])),
    *({"dataset": dataset} for dataset in transferred),
]
foregrounds = paths(FOREGROUND, scored)


def needs(where):
    """The files that a perturbation lists in NEEDS, as far as the dataset has them."""
    found = {need: NEEDS[need](where) for need in perturbation(where).get("needs", [])}
    return {need: path for need, path in found.items() if path}


def imagenet_c(where):
    """The folder of ImageNet-C that belongs to a dataset; its time says nothing, as of any folder of images."""
    folder = datasets[where["dataset"]].get("imagenet_c")
    return folder and ancient(folder)


def severity_folders(where):
    """The folders of ImageNet-C that a strip of `corrupt` reads; none if it corrupts images itself."""
    folder, levels = imagenet_c(where), perturbation(where)["levels"]
    return [Path(folder, where["variant"], f"{level:g}") for level in levels[1:]] if folder else []


def patches(where):
    """The patches that were crafted on the model that is the variant of a perturbation."""
    if where["dataset"] == config.get("patches", {}).get("data"):
        raise WorkflowError(f"patches are crafted on {where['dataset']} and cannot be evaluated on it, too")
    return PATCHES.format(perturbation=where["perturbation"], model=where["variant"])


marts = sorted(f"reports/marts/{path.name}" for path in Path(HERE, "reports/marts").glob("*.sql"))

# What a perturbation may need beside images: where it is, by wildcards or strip; None where a dataset lacks it.
NEEDS = {
    "imagenet_c": imagenet_c,
    "saliency": lambda where: f"results/saliency/{where['dataset']}/{saliency()['model']}.npy",
    "patches": patches,
}


def saliency():
    """How the config finds what is salient."""
    if "saliency" not in config:
        raise WorkflowError(f"config: {settings.NO_SALIENCY}")
    return config["saliency"]


def patch_images(kind):
    """The file, .npy or .parquet, of the images that patches are crafted on."""
    if "patches" not in config:
        raise WorkflowError(settings.NO_PATCHES)
    return f"results/images/{config['patches']['data']}.{kind}"


def weights_file(name):
    """The file that the config names for the weights of a model, if it names one: [path]."""
    told = models[name].get("weights", "random")
    return [] if told == "random" or is_url(told) else [told]


def weights(name):
    """Trained here if the model names a run, fetched otherwise."""
    run = models[name].get("run")
    return f"results/weights/{'trained' if run else 'fetched'}/{run or name}.safetensors"


def everything():
    """All files that the studies need, by name: what a failed rerun has lost is made again
    only if it is asked for."""
    return [
        *(image_folder(dataset) for dataset in asked_folders),
        *(STYLIZER.format(stylizer=stylizer) for stylizer in asked_stylizers),
        *stylized_sheets,
        *paths("results/images/{dataset}.npy", packed),
        *paths("results/images/{dataset}.parquet", packed),
        *(patch_images(kind) for kind in ("npy", "parquet") if crafting),
        *(stage_checkpoints(run)[-1] for run in asked_runs),
        *(f"results/trainings/{run}.parquet" for run in asked_runs),
        *(weights(model) for model in asked_models),
        *(file for strip in asked for file in needs(strip).values()),
        *foregrounds,
        *paths(STRIP),
        *sheets,
        *paths(MEASURED, asked_measures),
        *pictures,
        *paths(TOKENS, asked_tokens),
        *(each["file"] for each in learnt),
        "results/warehouse.duckdb",
        *expand("results/figures/{figure}.{kind}", figure=figures, kind=["json", "pdf", "svg", "png", "csv"]),
    ]


def strip_cells(where):
    """The cells of a strip: (level, seed). Files of ImageNet-C are the same for every seed."""
    published = "imagenet_c" in needs(where)
    return cells(perturbation(where), perturbation(where)["levels"], seeds[:1] if published else seeds)
