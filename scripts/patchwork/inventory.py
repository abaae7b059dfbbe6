"""What a config names on the disk: whether it is there, and whole. No image is decoded."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from patchwork import folders, sources
from patchwork.urls import is_url

READERS = 16  # a disk on the network answers several at once
TO_FETCH, UNUSED = "to fetch", "unused"
OF_WEIGHTS, OF_DATA = (f"; docs/{page}.md tells of published ones" for page in ("models", "data"))
BROKEN = "missing", "wrong"


class Finding(NamedTuple):
    """What was found of one name.

    name: the key in the config. path: what it names. state: found, missing, wrong, or to fetch or to make,
    which the workflow does by itself, or unused: it would be fetched if a study asked for it. seen: what is
    there, or is wrong, in words. fix: what to do; nothing if found.
    """

    name: str
    path: str
    state: str
    seen: str = ""
    fix: str = ""


def look(config, published, fetched, made, severities, categories):
    """Look at all files and folders that a config names, one after the other: a Finding of each.

    published: {name: {classes, files, wordnet, get}} of data sets that are whole. fetched: {name: file} of
    what studies ask for from a network, by its key in the config, like models.vit. made: {dataset: file} of
    those that are stylized here; the file is there if they are. severities: {dataset: [folder]} of ImageNet-C
    that are asked for. categories: the folder of those that come with the workflow.
    """
    for name, entry in config["datasets"].items():
        where, expected = f"datasets.{name}", published.get(entry.get("expects"), {})
        if name in made:
            state = ("found", "made") if os.path.isfile(made[name]) else ("to make",)
            yield Finding(where, f"{entry['stylize']} in the style of {entry['styles']}", *state)
        if "fetch" in entry:
            yield fetched_set(f"{where}.root", entry, expected, where in fetched)
        elif "root" in entry:
            look_at = partial(own_folder, entry, expected, needs_classes(name, config))
            yield checked(f"{where}.root", entry["root"], look_at, source(expected))
        for key, look_at in BESIDE.items():
            if key in entry:
                fix = source(expected) if key == "list" else None
                yield checked(f"{where}.{key}", entry[key], look_at, fix)
        if "categories" in entry:
            own = Path(categories, f"{entry['categories']}.csv")
            yield checked(f"{where}.categories", str(own) if own.is_file() else entry["categories"], lines)
        if "masks" in entry:
            yield checked(f"{where}.masks", entry["masks"], partial(masks, entry), source(expected))
        if "imagenet_c" in entry:
            whole = published["imagenet_c"]
            compared = whole if entry.get("expects") == "imagenet_val" else {}
            look_at = partial(corrupted, severities.get(name, []), compared)
            yield checked(f"{where}.imagenet_c", entry["imagenet_c"], look_at, source(whole))
    for name, entry in config["models"].items():
        weights = entry.get("weights")
        if "run" not in entry and (weights is None or is_url(weights)):
            yield from_network(f"models.{name}", weights or entry["timm"], fetched)
        elif weights and weights != "random":
            yield checked(f"models.{name}.weights", weights, file, advice=OF_WEIGHTS)
    for name, entry in config.get("stylizers", {}).items():
        if is_url(entry.get("decoder", "")):
            yield from_network(f"stylizers.{name}", entry["decoder"], fetched)
        elif "decoder" in entry:
            yield checked(f"stylizers.{name}.decoder", entry["decoder"], file, advice=OF_WEIGHTS)
    if "reuse" in config:
        yield checked("reuse", config["reuse"], another_run, advice="")


def needs_classes(name, config):
    """Whether the images of a dataset must lie in a folder per class: not if they only have masks, or styles
    are taken from them."""
    others = [*config["datasets"].values(), *config.get("stylizers", {}).values()]
    return "masks" not in config["datasets"][name] and all(other.get("styles") != name for other in others)


def source(expected):
    """Where a published data set comes from, in words; None of another one."""
    return f"{expected['get']}; see docs/data.md" if expected else None


def checked(name, path, look_at, fix=None, advice=OF_DATA):
    """The Finding of a path by what `look_at`, a function of it, says in words: what is not there is missing,
    of what else it complains is wrong. fix: what to do then; without, to put it there, and `advice`, words on
    what there is."""
    fix = fix or f"put it there, or a link: ln -s PLACE {path}{advice}"
    try:
        return Finding(name, path, "found", look_at(path))
    except FileNotFoundError as error:
        return Finding(name, path, "missing", str(error) if os.path.exists(path) else "", fix)
    except (ValueError, OSError) as error:
        return Finding(name, path, "wrong", str(error), fix)


def from_network(name, place, fetched):
    """The Finding of a file that comes from a network."""
    if name not in fetched:
        return Finding(name, place, UNUSED, "no study asks for it")
    return Finding(name, place, *(("found", "fetched") if os.path.isfile(fetched[name]) else (TO_FETCH,)))


def fetched_set(name, entry, expected, asked=True):
    """The Finding of the folder that torchvision finds a set in; all that a split is from is counted.

    asked: whether a study asks for it.
    """
    lacking = sources.lacking(entry | {"download": False})
    if lacking and entry.get("download"):
        return Finding(name, entry["root"], *((TO_FETCH,) if asked else (UNUSED, "no study asks for it")))
    if lacking:
        return Finding(name, entry["root"], "missing", "", lacking)
    place = Path(entry["root"], sources.SETS[entry["fetch"]].splits[str(entry["split"])][1])
    fix = f"delete {place}, and {'run again' if entry.get('download') else 'put the whole set there'}"
    return checked(name, entry["root"], lambda _: compare(count(place), expected), fix)


def check_whole(entry, expected):
    """Raise ValueError that says what to do if a set of torchvision's is not as large as it should be."""
    found = fetched_set("", entry, expected)
    if found.fix:
        raise ValueError(f"{entry['fetch']} in {found.path}: {found.seen}; {found.fix}")


def own_folder(entry, expected, classes, root):
    """How many images there are in the folder of a dataset, or of it in its list."""
    if "list" not in entry:
        numbers = count(root)
    elif os.path.isfile(entry["list"]):
        named = folders.below(root, entry["list"])
        numbers = Counter(path.rpartition("/")[0].partition("/")[0] for path in named)
    else:
        return told(count(root))
    if classes and not {*numbers} - {""}:
        raise ValueError(f"{told(numbers)}: it should hold one folder of images per class")
    if classes and (empty := sorted(label for label in numbers if not numbers[label])):
        raise ValueError(f"the class folder {empty[0]!r} ({len(empty)} such) has no images in it")
    return compare(numbers, expected)


def corrupted(severities, expected, root):
    """How many images there are in the folders of ImageNet-C that are asked for."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"there is no folder {root}")
    if lost := [folder for folder in severities if not os.path.isdir(folder)]:
        raise FileNotFoundError(f"of {len(severities)} folders {len(lost)} are not there, such as {lost[0]}")
    numbers = {}
    for folder in severities:
        numbers[folder] = count(folder)
        try:
            compare(numbers[folder], expected)
        except ValueError as error:
            raise ValueError(f"{folder} has {error}") from error
    return told({folder: sum(found.values()) for folder, found in numbers.items()})


def count(root):
    """How many image files there are in each folder of `root` and the folders in it: {name of the folder:
    number}; in none of them, by the name ""."""
    with os.scandir(root) as found:
        there = [entry for entry in found if not entry.name.startswith(".")]
    labels = [entry.name for entry in there if entry.is_dir()]
    with ThreadPoolExecutor(READERS) as pool:
        numbers = [*pool.map(lambda label: folders.count_below(Path(root, label)), labels)]
    loose = sum(os.path.splitext(entry.name)[1].lower() in folders.EXTENSIONS for entry in there)
    return dict(zip(labels, numbers, strict=True)) | ({"": loose} if loose else {})


def compare(numbers, expected):
    """The numbers of classes and files in words. Raises ValueError if others are expected."""
    labels = {*numbers} - {""}
    found = {"classes": sum(numbers[label] > 0 for label in labels), "files": sum(numbers.values())}
    if wrong := [f"{expected[key]:,} {key}" for key in found if expected.get(key, found[key]) != found[key]]:
        raise ValueError(f"{told(numbers)}; whole, it has {' and '.join(wrong)}")
    if expected.get("wordnet") and not all(map(folders.WORDNET_ID.fullmatch, labels)):
        raise ValueError(f"{told(numbers)}; its folders should be named by WordNet ids, like n01440764")
    return told(numbers)


def told(numbers):
    labels, files = sum(numbers[label] > 0 for label in numbers if label), sum(numbers.values())
    return (f"{labels:,} folders, " if labels else "") + f"{files:,} files"


def file(path):
    return f"{os.stat(path).st_size / 1e6:,.1f} MB"


def lines(path):
    return f"{sum(bool(line.strip()) for line in folders.read_list(path)):,} lines"


def tables(path):
    """How many CSV files a folder has."""
    if not (found := [name for name in os.listdir(path) if name.endswith(".csv")]):
        raise ValueError("it should hold CSV files")
    return f"{len(found):,} files"


def masks(entry, folder):
    """How many masks there are. Raises ValueError if an image of the dataset has none."""
    there, listed = {*folders.below(folder)}, entry.get("list")
    wanted = folders.below(entry["root"], listed)
    if lost := [path for path in wanted if f"{os.path.splitext(path)[0]}.png" not in there]:
        advice = "" if listed else "; `list: FILE` would name the images that have one"
        raise ValueError(f"{len(lost):,} images have none, such as {lost[0]}{advice}")
    return f"{len(there):,} files"


def another_run(folder):
    if not Path(folder, ".snakemake/metadata").is_dir():
        raise ValueError("no run was there: it should hold .snakemake and the results")
    return ""


BESIDE = {"list": lines, "classes": lines, "columns": lines, "decisions": tables}  # a dataset's images


def line(finding):
    """A Finding as a line of a table, and one more for what to do."""
    first = f"{finding.name:36} {finding.state:8}  {finding.path}"
    first += f"  ({finding.seen})" if finding.seen else ""
    return first + (f"\n{'':36} -> {finding.fix}" if finding.fix else "")


def summary(findings):
    """How many there are of each state, in words."""
    states = [finding.state for finding in findings]
    how = {TO_FETCH: " (snakemake fetch_all)"}
    return ", ".join(
        f"{states.count(state):,} {state}{how.get(state, '')}" for state in dict.fromkeys(("found", *states))
    )
