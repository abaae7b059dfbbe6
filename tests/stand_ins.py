"""Stand-ins for the data that a config names: empty files, which planning counts and never opens."""

from pathlib import Path

import yaml

from conftest import ROOT

PUBLISHED = yaml.safe_load((ROOT / "rules/datasets.yaml").read_text())
CLASSES, IMAGES = 5, 10  # as few as episodes of few shots can be drawn from


def make(config, folder, whole=False):
    """All that the datasets, models and stylizers of a config name by path, below `folder`.

    whole: as many files as `expects` says, not IMAGES.
    """
    folder, made = Path(folder), set()
    for name, entry in config["datasets"].items():
        if "root" in entry and (entry["root"], entry.get("list")) not in made:
            made.add((entry["root"], entry.get("list")))
            fill(name, entry, folder, PUBLISHED.get(entry.get("expects"), {}) if whole else {})
        for severity in range(1, 6) if "imagenet_c" in entry else ():
            for corruption in corruptions(config):
                (folder / entry["imagenet_c"] / corruption / str(severity)).mkdir(parents=True)
        if "decisions" in entry:
            touch(folder / entry["decisions"] / "people.csv")
    models = [entry.get("weights", "random") for entry in config["models"].values()]
    decoders = [entry.get("decoder", "random") for entry in config.get("stylizers", {}).values()]
    for file in {*models, *decoders} - {"random"}:
        if "://" not in file:
            touch(folder / file)


def corruptions(config):
    """The corruptions that the studies of a config name."""
    named = {name for study in config["studies"].values() for name in study.get("perturbations", [])}
    return sorted(name.removeprefix("corrupt/") for name in named if name.startswith("corrupt/"))


def fill(name, entry, folder, expected):
    """The images of one dataset, and its list and masks. What is fetched has none yet, but its list."""
    classes, images = expected.get("classes", CLASSES), expected.get("files", IMAGES)
    paths = [f"{number % classes:03d}/{name}_{number}" for number in range(images)]
    if "list" in entry:
        ending = "" if "masks" in entry else ".jpg"  # as in the list of VOC, and in others
        touch(folder / entry["list"], "\n".join(f"{path}{ending}" for path in paths))
    if "fetch" in entry:
        return
    for path in paths:
        touch(folder / entry["root"] / f"{path}.jpg")
        if "masks" in entry:
            touch(folder / entry["masks"] / f"{path}.png")


def touch(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
