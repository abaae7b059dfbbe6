"""What a config has to fetch from the network, how large it is, and whether it has room."""

import csv
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from torch import hub

from patchwork import fetching, sources, urls

ASKED = 16  # servers at once: one that does not answer is waited for a minute
HUB_FILES = "model.safetensors", "pytorch_model.bin"  # the first that is there is what timm takes


class Download(NamedTuple):
    """A file that is not there yet.

    name: of the first entry that needs it. source: a URL, or what the hub calls it. size_bytes: of the file;
    0 if it lies in a cache, None if that is not known. folders: where it takes that room, each as often as it
    is named.
    """

    name: str
    source: str
    size_bytes: int | None
    folders: tuple[str, ...]


def look(models, stylizers, datasets, made):
    """The Downloads of entries of the config, {name: entry}. made: the folder that results are in."""
    with ThreadPoolExecutor(ASKED) as pool:
        found = [*pool.map(of_model, models, models.values(), repeat(made))]
        found += pool.map(of_stylizer, stylizers, stylizers.values(), repeat(made))
    # One after the other: whose archives they are is asked by changing torchvision for a while.
    return found + [each for name, entry in datasets.items() for each in of_dataset(name, entry)]


def of_stylizer(name, entry, made):
    """The decoder of a stylizer that comes from a URL."""
    return of_url(f"stylizers.{name}.decoder", entry["decoder"], made)


def of_url(name, url, made):
    """A file of weights that comes from a URL of the config."""
    size = 0 if fetching.kept(url).is_file() else urls.length(url)
    return Download(name, url, size, (made, hub.get_dir()))


def of_model(name, entry, made):
    """The weights of a model that come from the network.

    entry: of the config, {timm, weights}. made: the folder of the weights that all models are read from.
    """
    if "weights" in entry:
        return of_url(f"models.{name}", entry["weights"], made)
    try:
        where, place = fetching.published(entry)
    except RuntimeError:  # timm knows no such weights, which `fetch_weights` tells
        where, place = "", ""
    if where == "hf-hub":
        from huggingface_hub import constants

        repository, *files = [place] if isinstance(place, str) else place
        size = hub_length(repository, files or HUB_FILES)
        return Download(f"models.{name}", f"{repository} of the hub", size, (made, constants.HF_HUB_CACHE))
    if where == "url":
        kept = Path(hub.get_dir(), "checkpoints", Path(urlsplit(place).path).name)
        size = 0 if kept.is_file() else urls.length(place)
        return Download(f"models.{name}", place, size, (made, hub.get_dir()))
    return Download(f"models.{name}", f"timm's {entry['timm']}", None, (made,))


def of_dataset(name, entry):
    """The archives of a set of torchvision's that is not in its root yet. They stay there beside what is
    unpacked, which is taken to be as large: images cannot be packed tighter.

    entry: of the config, {fetch, split, root}.
    """
    if sources.lacking(entry | {"download": False}) is None:
        return []
    archives = sources.archives(entry["fetch"], str(entry["split"]))
    return [Download(f"datasets.{name}", url, urls.length(url), (entry["root"],) * 2) for url in archives]


def hub_length(repository, files):
    """How many bytes the first of some files has that a repository of the hub has; 0 if it lies in the cache,
    None if that cannot be told."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, revision = repository.partition("@")
    for file in files:
        if isinstance(try_to_load_from_cache(repository, file, revision=revision or None), str):
            return 0
        try:
            return get_hf_file_metadata(hf_hub_url(repository, file, revision=revision or None)).size
        except EntryNotFoundError:
            continue
        except Exception:  # the errors of a network are those of whatever library asks it
            return None
    return None


def once(downloads):
    """The same, without what is fetched to the same place for another entry, too."""
    return [*{(each.source, each.folders): each for each in reversed(downloads)}.values()][::-1]


def disks(downloads):
    """Where room is needed: {folder of a disk that is there: (bytes needed, bytes free)}."""
    needed = {}
    for each in downloads:
        for folder in each.folders:
            path = Path(folder).absolute()
            there = next(parent for parent in (path, *path.parents) if parent.exists())
            first, size = needed.get(os.stat(there).st_dev, (there, 0))
            needed[os.stat(there).st_dev] = first, size + (each.size_bytes or 0)
    return {folder: (size, shutil.disk_usage(folder).free) for folder, size in needed.values()}


def table(downloads, rooms):
    """What is to be fetched, in lines for a person."""
    if not downloads:
        return "Nothing is to be fetched."
    unknown = sum(each.size_bytes is None for each in downloads)
    total = megabytes(sum(each.size_bytes or 0 for each in downloads))
    words = {None: "unknown", 0: "in a cache"}
    sizes = [words.get(each.size_bytes) or megabytes(each.size_bytes) for each in downloads]
    lines = [f"{each.name:30} {size:>14}  {each.source}" for each, size in zip(downloads, sizes, strict=True)]
    lines += [f"{'together':30} {total:>14}" + (f"  and {unknown} of unknown size" if unknown else "")]
    lines += [
        f"On the disk of {folder}, with what is made of it: {megabytes(size)}; free: {megabytes(free)}"
        for folder, (size, free) in rooms.items()
    ]
    return "\n".join(lines)


def megabytes(size):
    return f"{size / 1e6:,.1f} MB"


def check_room(rooms):
    """Raise ValueError naming the first disk that has too little room."""
    for folder, (size, free) in rooms.items():
        if size > free:
            raise ValueError(
                f"the disk of {folder} has {megabytes(free)} free, and {megabytes(size)} are needed: make "
                "room, or put a link to another disk in its place"
            )


def write(downloads, path):
    """A CSV of what is to be fetched: name, source, size_bytes (nothing if unknown)."""
    with open(path, "w", newline="", encoding="utf-8") as opened:
        rows = [[each.name, each.source, each.size_bytes] for each in downloads]
        csv.writer(opened, lineterminator="\n").writerows([["name", "source", "size_bytes"], *rows])
