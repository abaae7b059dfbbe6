"""Sets of images that torchvision knows, as image folders.

torchvision finds what lies in a folder, `root`, and knows what to fetch there. It checks that by MD5, but for
FGVC-Aircraft, of which it knows none. Planning reads the table; only what opens a set imports torchvision.
"""

import csv
import fcntl
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus, urlsplit

from patchwork import files, folders, urls
from patchwork.catalogue import unknown

# What torchvision and its libraries raise where a set is not there or not whole, but for OSError.
NOT_WHOLE = RuntimeError, ValueError, LookupError, TypeError
# ... and where an archive cannot be fetched or unpacked.
NOT_FETCHED = urls.Unreachable, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError


class Source(NamedTuple):
    """A set: by the name of a split, the arguments of torchvision's class and what lies in `root` then; where
    an object of this class keeps its images, as pairs of a file and the name of its class; and which splits
    are in others."""

    splits: dict[str, tuple[dict[str, Any], str]]
    images: Callable[[Any], list[tuple[str | Path, str]]]
    parts: dict[str, set[str]] = {}  # noqa: RUF012 - nobody writes to it


def labelled(data):
    return [(file, data.classes[label]) for file, label in zip(data._image_files, data._labels, strict=True)]


def traffic_signs(data):
    """The training set has a folder per class, 00000 to 00042; the test set has their numbers."""
    if data._split == "train":
        return [(file, Path(file).parent.name) for file, _ in data._samples]
    return [(file, f"{label:05d}") for file, label in data._samples]


def places(data):
    names = {number: name for name, number in data.class_to_idx.items()}
    return [(file, names[label]) for file, label in data.imgs]


def species(data):
    files = [(Path(data.root, data.all_categories[label], name), label) for label, name in data.index]
    return [(file, data.all_categories[n]) for file, n in files if file.suffix.lower() in folders.EXTENSIONS]


def characters(data):
    return [
        (Path(data.target_folder, data._characters[label], name), data._characters[label])
        for name, label in data._flat_character_images
    ]


def wordnet_ids(data):
    return [(file, data.wnids[label]) for file, label in data._samples]


def splits(place, *names):
    """Splits that lie in one place and are asked for by their own names."""
    return {name: ({"split": name}, place) for name in names}


SETS = {
    "FGVCAircraft": Source(
        splits("fgvc-aircraft-2013b", "train", "val", "trainval", "test"),
        labelled,
        {"trainval": {"train", "val"}},
    ),
    "DTD": Source(splits("dtd/dtd", "train", "val", "test"), labelled),  # the first of its ten partitions
    "Flowers102": Source(splits("flowers-102", "train", "val", "test"), labelled),
    "GTSRB": Source(
        splits("gtsrb/GTSRB/Training", "train") | splits("gtsrb/GTSRB/Final_Test/Images", "test"),
        traffic_signs,
    ),
    "Places365": Source(  # in 256 pixels
        {
            "train-standard": ({"split": "train-standard", "small": True}, "data_256_standard"),
            "val": ({"split": "val", "small": True}, "val_256"),
        },
        places,
    ),
    "INaturalist": Source(
        {
            version: ({"version": version}, version)
            for version in ("2017", "2018", "2019", "2021_train", "2021_train_mini", "2021_valid")
        },
        species,
        {"2021_train": {"2021_train_mini"}},
    ),
    "Omniglot": Source(
        {
            "background": ({"background": True}, "omniglot-py/images_background"),
            "evaluation": ({"background": False}, "omniglot-py/images_evaluation"),
        },
        characters,
    ),
    "Imagenette": Source(  # as it was published, and with a shorter side of 320 pixels
        splits("imagenette2", "train", "val")
        | {
            f"{split}-320px": ({"split": split, "size": "320px"}, "imagenette2-320")
            for split in ("train", "val")
        },
        wordnet_ids,
        {split: {f"{split}-320px"} for split in ("train", "val")},
    ),
}


# ---- What planning asks. ----


def problems(entry):
    """What is wrong with a dataset {fetch, split, ...} of the config, as (key, problem)."""
    if entry["fetch"] not in SETS:
        yield "fetch", unknown(entry["fetch"], SETS)
    elif (split := str(entry["split"])) not in SETS[entry["fetch"]].splits:
        yield "split", f"of {entry['fetch']}, {unknown(split, SETS[entry['fetch']].splits)}"


def lacking(entry):
    """What a dataset {fetch, split, root, download} needs and must not fetch: a text, or None."""
    _, place = SETS[entry["fetch"]].splits[str(entry["split"])]
    lost = Path(entry["root"], place)
    if entry.get("download") or lost.exists():
        return None
    return f"there is no {lost}: put {entry['fetch']} there, or let it be fetched by `download: true`"


def shared(first, second):
    """What two datasets {fetch, split, list} have in common: a text, or None."""
    one, other = (str(entry["split"]) for entry in (first, second))
    parts = SETS[first["fetch"]].parts
    if first["fetch"] != second["fetch"] or not {one, *parts.get(one, ())} & {other, *parts.get(other, ())}:
        return None
    if "list" in first and "list" in second:
        lines = ({line.strip() for line in folders.read_list(entry["list"])} for entry in (first, second))
        return min(set.intersection(*lines) - {""}, default=None)
    return f"images of the split {one} of {first['fetch']}"


# ---- What the job does. ----


def fetch(name, split, root, folder, listed=None, download=False):
    """Make an image folder of a split of a set:

    images/<class>/<file>   a symbolic link to the file in root; the class as `class_folder` writes it
    index.csv               path of the link, class (as the set names it), file (path in root)

    Links, as a copy would take twice the disk; symbolic ones, as `root` often lies on another one. They are
    relative if root is, so that the whole may move.

    listed: a text file of the images to take, by their paths in root (folders.named). download: whether what
    is not there is fetched to root.
    Raises ValueError or FileNotFoundError naming the set and its root, or the list.
    """
    found = {os.path.relpath(file, root): label for file, label in get(name, split, root, download)}
    rows, folder = [], Path(folder).resolve()  # a relative path from behind a link begins where that leads
    for file in folders.named(found, listed, root) if listed else sorted(found):
        place, source = Path(folder, "images", class_folder(found[file])), Path(root, file)
        place.mkdir(parents=True, exist_ok=True)
        target = source if source.is_absolute() else os.path.relpath(source, place)
        (place / source.name).symlink_to(target)
        rows.append([f"{place.name}/{source.name}", found[file], file])
    with open(Path(folder, "index.csv"), "w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows([["path", "class", "file"], *sorted(rows)])


def class_folder(label):
    """The folder of a class: its name, quoted as in the query of a URL, so that no two have the same.

    A dot at the beginning would hide the folder, and no name is none.
    """
    quoted = quote_plus(label)
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted or "%"


def get(name, split, root, download=False):
    """The images of a split: pairs of a file in root and the name of its class.

    Jobs that fetch to the same root wait for each other, and what is fetched comes to its place when it is
    whole: what a killed one has left there is no image.
    """
    try:
        return images(name, split, root)
    except (OSError, *NOT_WHOLE) as error:
        if not download:
            raise FileNotFoundError(
                f"{name}, {split}, is not whole in {root} ({error}): put it there, or let it be fetched by "
                "`download: true`"
            ) from error
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".fetching.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return images(name, split, root)  # another job has fetched it meanwhile
        except (OSError, *NOT_WHOLE):
            into(root, name, split)
    return images(name, split, root)


def into(root, name, split):
    """Fetch a split to root. Raises ValueError naming the set if it cannot be had.

    An archive of which a part has come is gone on with the next time.
    """
    guard(root)
    part = root / ".fetching"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        with files.room(root):
            opened(name, split, part, download=True)
            move(part, root)
    except (OSError, *NOT_FETCHED) as error:
        raise ValueError(
            f"{name} cannot be fetched ({getattr(error, 'reason', error)}): try again, or put it in {root}"
        ) from error
    except NOT_WHOLE as error:  # a RuntimeError is torchvision's word for a wrong checksum
        raise ValueError(f"what was fetched is not the {name} that torchvision knows: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def archives(name, split):
    """The URLs of what torchvision fetches for a split, by letting it run with nothing to fetch with."""
    from patchwork import without_compiler  # noqa: F401 - before anything imports torchvision

    # isort: split
    from torchvision import datasets

    found, known = {}, getattr(datasets, name)

    def note(url, *_, **__):
        found[url] = None

    def note_lists(data, download):  # of Places365, which reads them before it goes on
        data.download_devkit()
        return (), ()

    noting = type(name, (known,), {"load_categories": note_lists, "load_file_list": note_lists})
    module = vars(sys.modules[known.__module__])
    kept = {key: module[key] for key in ("download_and_extract_archive", "download_url") if key in module}
    module.update(dict.fromkeys(kept, note))
    try:
        with tempfile.TemporaryDirectory() as folder, suppress(OSError, *NOT_WHOLE):  # nothing has come
            noting(folder, download=True, **SETS[name].splits[split][0])
    finally:
        module.update(kept)
    return [*found]


def guard(root):
    """Let torchvision fetch and unpack as this module does.

    By itself it waits for ever, begins anew, tries http where https fails, follows a redirect to anywhere,
    and before Python 3.14 lets a tar archive write to any place of the disk.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ValueError("archives are unpacked by Python 3.11.4 or newer: take that, or unpack them before")
    from torchvision.datasets import utils

    def retrieve(url, filename, chunk_size=0):
        unfinished = Path(root, f".{Path(urlsplit(url).path).name}.unfinished")
        urls.fetch(url, unfinished)
        unfinished.replace(filename)

    vars(utils).update(_urlretrieve=retrieve, _get_redirect_url=lambda url, max_hops: url)
    tarfile.TarFile.extraction_filter = staticmethod(within)


def within(member, folder):
    """A tar archive's file or folder as it may be unpacked; None for links and devices, which no set of
    images needs. Raises tarfile.FilterError if it would leave the folder."""
    return tarfile.data_filter(member, folder) if member.isfile() or member.isdir() else None


def move(source, target):
    """Move what is in a folder to another one, which may have some of its folders already."""
    for path in source.iterdir():
        if path.is_dir() and (target / path.name).is_dir():
            move(path, target / path.name)
        else:
            path.replace(target / path.name)


def images(name, split, root):
    """The images that torchvision finds in root: pairs of a file and the name of its class."""
    found = SETS[name].images(opened(name, split, root))
    for file, _ in found:
        if not os.path.isfile(file):
            raise FileNotFoundError(f"there is no {file}")
        if Path(os.path.relpath(file, root)).parts[0] == os.pardir:
            raise ValueError(f"it names {file}, which is not in {root}")
    if not found:
        raise FileNotFoundError("there are no images")
    return found


def opened(name, split, root, download=False):
    """torchvision's object for a split in root."""
    from patchwork import without_compiler  # noqa: F401 - before anything imports torchvision

    # isort: split
    from torchvision import datasets

    arguments, _ = SETS[name].splits[split]
    # absolute, or torchvision would take a ~ for the home directory, which nobody else does
    return getattr(datasets, name)(str(Path(root).absolute()), download=download, **arguments)
