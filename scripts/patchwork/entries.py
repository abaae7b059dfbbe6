"""Entries of a config: what they take from each other, and which must be made first."""

from patchwork import sources
from patchwork.catalogue import unknown

# What a run must be told, by itself or by its recipe.
NEEDED = ["epochs", "stage", "batch_images", "optimizer", "learning_rate", "weight_decay", "warmup_epochs"]


# What a transfer names datasets by.
TRANSFERRED = ["data", "test", "train", "validation"]


def resolve(run, recipes):
    """A run with all that its recipe says and it does not say itself.

    Of settings that have names themselves (`augmentation`), those that the run gives are changed; a null
    takes a setting away.
    """
    recipe = recipes.get(run.get("recipe"), {})
    merged = recipe | run
    for key, value in recipe.items():
        if isinstance(value, dict) and isinstance(run.get(key), dict):
            merged[key] = value | run[key]
    return {key: value for key, value in merged.items() if value is not None}


def run_problems(config, recipes):
    """What is wrong with the runs of a config, as (keys, problem)."""
    datasets, models, runs = config["datasets"], config["models"], config.get("runs", {})
    for name, run in runs.items():
        where = ["runs", name]
        for key, entries in [
            *(("recipe", recipes), ("model", models), ("data", datasets), ("held_out", datasets)),
            *(("teacher", models), ("initial", models)),
        ]:
            if key in run and run[key] not in entries:
                yield [*where, key], unknown(run[key], entries)
        whole = resolve(run, recipes)
        if lacking := [key for key in NEEDED if key not in whole]:
            yield where, f"is told no {', '.join(lacking)}: give it, or a `recipe` that says so"
        elif whole["epochs"] % whole["stage"]:
            yield (
                [*where, "stage"],
                f"{whole['stage']} does not divide the {whole['epochs']} epochs into stages",
            )
        if "dino" in whole and ("teacher" in run or "held_out" in run):
            yield where, "learns without labels: it takes no `teacher` and no `held_out`"


def stylizing_problems(config):
    """What is wrong with stylizers and stylized datasets, as (keys, problem)."""
    datasets, stylizers = config["datasets"], config.get("stylizers", {})
    places = {"stylize": datasets, "styles": datasets, "stylizer": stylizers}
    for name, entry in datasets.items():
        for key in [key for key in places if key in entry and entry[key] not in places[key]]:
            yield ["datasets", name, key], unknown(entry[key], places[key])
        for key in [key for key in ("alpha", "shards") if key in entry and "stylize" not in entry]:
            yield ["datasets", name, key], "only stylized images have it"
    places = {"encoder": config["models"], "content": datasets, "styles": datasets}
    for name, entry in stylizers.items():
        for key in [key for key in places if key in entry and entry[key] not in places[key]]:
            yield ["stylizers", name, key], unknown(entry[key], places[key])


def is_own(dataset):
    """Whether the images of a dataset lie in a folder of the user's; the others are made here: fetched from
    a set of torchvision's, drawn or stylized."""
    return "root" in dataset and "fetch" not in dataset


def fetch_problems(config):
    """What is wrong with datasets that are fetched, as (keys, problem)."""
    for name, entry in config["datasets"].items():
        if "fetch" in entry:
            found = [*sources.problems(entry)]
            found += [
                (key, "only a folder of your own has it") for key in ("columns", "masks") if key in entry
            ]
        else:
            told = [key for key in ("split", "download") if key in entry]
            found = [(key, "only what is fetched has it: `fetch: SET` is missing") for key in told]
        yield from ((["datasets", name, key], problem) for key, problem in found)


def label_problems(config):
    """What is wrong with how datasets tell the labels of their images, as (keys, problem)."""
    for name, entry in config["datasets"].items():
        if "classes" in entry and "categories" in entry:
            yield (
                ["datasets", name, "categories"],
                "a dataset with `categories` has these for classes: leave out `classes`",
            )
        if "names" in entry and not is_own(entry):
            yield ["datasets", name, "names"], "only the files of a `root` are named by others"


def transfer_problems(config):
    """What is wrong with what is learnt from frozen features, as (keys, problem)."""
    datasets = config["datasets"]
    for kind in ("transfers", "few_shots"):
        for name, entry in config.get(kind, {}).items():
            named = {key: entry[key] for key in TRANSFERRED if isinstance(entry.get(key), str)}
            for key, dataset in named.items():
                if dataset not in datasets:
                    yield [kind, name, key], unknown(dataset, datasets)
                elif dataset in [named[other] for other in named if other < key]:
                    yield [kind, name, key], f"{dataset} has another part here already"
            for key in ("shots", "queries"):
                if entry.get("ways") == "variable" and key in entry:
                    yield [kind, name, key], "are drawn, too, where `ways` is variable: leave them out"
            if "data" in entry and entry.get("test", 0) + entry.get("validation", 0.2) >= 1:
                yield [kind, name], "`test` and `validation` leave no image to train on"


def inherited(entry, datasets):
    """What a stylized dataset has of its contents: their classes, and what the names of their files tell."""
    while "stylize" in entry:
        entry = datasets[entry["stylize"]]
    return {key: entry[key] for key in ("classes", "categories", "names") if key in entry}


def made_from(config, kind, name):
    """What an entry is made from, as (kind, name); "styles" are the images of a dataset, whatever classes."""
    entry = config["datasets" if kind == "styles" else kind][name]
    if kind == "styles":
        return [] if is_own(entry) else [("datasets", name)]
    keys = {
        "datasets": {"stylize": "datasets", "styles": "styles", "stylizer": "stylizers"},
        "stylizers": {"encoder": "models", "content": "datasets", "styles": "styles"},
        "models": {"run": "runs"},
        "runs": {"data": "datasets", "held_out": "datasets", "teacher": "models", "initial": "models"},
        "transfers": dict.fromkeys(TRANSFERRED, "datasets"),
        "few_shots": {"data": "datasets"},
    }
    found = [(other, entry[key]) for key, other in keys[kind].items() if key in entry]
    return [(other, told) for other, told in found if isinstance(told, str)]  # others are shares of images


def needed(config, wanted):
    """Entries and all that they are made from, as (kind, name), what is made first first.

    Raises ValueError naming the entries on the way if one is made from itself.
    """
    found, way = {}, []

    def visit(entry):
        if entry in way:
            circle = " from ".join(".".join(each) for each in [*way[way.index(entry) :], entry])
            raise ValueError(f"nothing can be made from itself: {circle}")
        if entry not in found:
            way.append(entry)
            for other in made_from(config, *entry):
                visit(other)
            found[way.pop()] = None

    for entry in wanted:
        visit(entry)
    return [*found]


def circles(config):
    """The first entry that would be made from itself, as (keys, problem)."""
    for kind in ("datasets", "runs"):  # every circle goes through one of these
        for name in config.get(kind, {}):
            try:
                needed(config, [(kind, name)])
            except ValueError as error:
                yield [kind, name], error
                return
