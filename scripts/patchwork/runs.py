"""The trainings of a config: what a run takes from its recipe, and which other entries it stands on."""

from patchwork.catalogue import unknown

# What a run must be told, by itself or by its recipe.
NEEDED = ["epochs", "stage", "batch_images", "optimizer", "learning_rate", "weight_decay", "warmup_epochs"]

# What an entry of each kind needs to be made first: its key, and the kind of what it names.
STANDS_ON = {
    "models": {"run": "runs"},
    "runs": {"data": "datasets", "held_out": "datasets", "teacher": "models", "initial": "models"},
    "datasets": {"stylize": "datasets", "styles": "datasets", "stylizer": "stylizers"},
    "stylizers": {"encoder": "models", "content": "datasets", "styles": "datasets"},
}


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


def problems(config, recipes):
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
    yield from cycles(config)


def reach(config, nodes):
    """The (kind, name) of config entries that must be made for some nodes, (kind, name) too, and these."""
    found, queue = set(), list(nodes)
    while queue:
        kind, name = queue.pop()
        if (kind, name) not in found:
            found.add((kind, name))
            queue += below(config, kind, name)
    return found


def below(config, kind, name):
    """The (kind, name) of what an entry stands on."""
    entry = config.get(kind, {}).get(name, {})
    return [(other, entry[key]) for key, other in STANDS_ON[kind].items() if key in entry]


def cycles(config):
    """Entries that would have to be made before themselves, as (keys, problem)."""
    for kind in ("runs", "stylizers"):  # one of these is in every circle
        for name in config.get(kind, {}):
            if (kind, name) in reach(config, below(config, kind, name)):
                yield [kind, name], "stands on itself: follow its " + ", ".join(STANDS_ON[kind])
