"""Image folders: one folder per class. Read while planning too, so nothing here may import much."""

import csv
import os
import re
from pathlib import Path

EXTENSIONS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
ENDINGS = tuple(EXTENSIONS)
WORDNET_ID = re.compile(r"n\d{8}")
OWN_COLUMNS = {"image", "label", "class_name", "problem"}  # of the index of packed images


def listing(root, images=None, listed=None):
    """The images of an image folder as (class folder, path relative to root), in order of path.

    images: keep only so many, spread evenly over the list (and so over the classes). listed: a text file of
    the images to take (`named`), such as a split; class folders without any of them are then as if not there.
    Raises FileNotFoundError or ValueError that names the folder, or the list, and what would be right.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}: it should hold one folder of images per class")
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise ValueError(f"{root} has no folders in it: it should hold one folder of images per class")
    found = []
    for folder in classes:
        inside = sorted(relative(folder, root))
        if not inside and not listed:
            raise ValueError(
                f"the class folder {folder} has no images in it: add some ({', '.join(sorted(EXTENSIONS))}) "
                "or remove it"
            )
        label = folder.name  # once, not for each of a million
        found += [(label, path) for path in inside]
    if listed:
        taken = set(named([path for _, path in found], listed, root))
        found = [(name, path) for name, path in found if path in taken]
    return thinned(found, images)


def thinned(found, images=None):
    """So many of a list, spread evenly over it; all, if there are not more or no number is told."""
    if images and images < len(found):
        return [found[i * len(found) // images] for i in range(images)]
    return found


def below(folder, listed=None):
    """All images in a folder and the folders in it, whatever classes: paths relative to it, in order.

    listed: a text file of the images to take (`named`).
    Raises FileNotFoundError or ValueError that names the folder if there are none, or the list.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder}: it should hold images")
    found = sorted(relative(folder, folder))
    if not found:
        raise ValueError(f"{folder} has no images in it: add some ({', '.join(sorted(EXTENSIONS))})")
    return named(found, listed, folder) if listed else found


def masked(root, masks=None, listed=None, columns=None, images=None):
    """The images of a folder, of whatever classes, that have a mask: (path relative to root, file of the
    mask), in order of path.

    masks: a folder of masks, each of the path of its image but .png; every image needs one. listed: a text
    file of the images to take (`named`). columns: without `masks`, a CSV (read_columns) whose column `mask`
    tells where they are, from its own folder. images: keep only so many, spread evenly.
    Raises FileNotFoundError or ValueError that names the file at fault.
    """
    found = below(root, listed)
    if masks:
        if not os.path.isdir(masks):
            raise FileNotFoundError(f"there is no folder {masks}: it should hold a mask (.png) of each image")
        pairs = [(path, Path(masks, path).with_suffix(".png")) for path in found]
    else:
        told = {path: row["mask"] for path, row in read_columns(columns).items() if row.get("mask")}
        pairs = [(path, Path(columns or "").parent / told[path]) for path in found if path in told]
        if not pairs:
            told_by = columns or "a CSV, `columns`,"
            raise ValueError(f"{root} has no masks: {told_by} should name them in a column `mask`")
    for path, mask in pairs:
        if not mask.is_file():
            advice = "" if listed or not masks else "; `list: FILE` would name the images that have one"
            raise FileNotFoundError(f"there is no mask {mask} of the image {Path(root, path)}{advice}")
    return thinned(pairs, images)


def named(found, listed, root):
    """Those of the paths `found`, relative to root, that the text file `listed` names, in order: a path in
    each line, with or without its ending.

    Raises ValueError naming a line that stands for no image, or for several.
    """
    lines = {line.strip() for line in read_list(listed)} - {""}
    if not lines:
        raise ValueError(
            f"{listed} names no image: it should have the path of one, from {root}, in each line"
        )
    if lines <= {*found}:
        return sorted(lines)
    known = {}
    for path in found:
        known.setdefault(os.path.splitext(path)[0], []).append(path)
    known |= {path: [path] for path in found}
    for line in sorted(lines - known.keys()):
        raise ValueError(f"{listed} names {line!r}, but {root} has no such image (.jpg, .png ...)")
    for line in sorted(line for line in lines if len(known[line]) > 1):
        raise ValueError(f"{listed} names {line!r}, which may be {' or '.join(known[line])}: add the ending")
    return sorted({known[line][0] for line in lines})


def relative(folder, root):
    """The paths of the images in a folder and the folders in it, from `root`."""
    for place, names in images_below(folder):
        way = os.path.relpath(place, root).replace(os.sep, "/")
        yield from names if way == "." else [f"{way}/{name}" for name in names]


def count_below(folder):
    """How many images there are in a folder and the folders in it."""
    return sum(len(names) for _, names in images_below(folder))


def images_below(folder):
    """The image files in a folder and the folders in it, links followed once, hidden files left out: (folder,
    names). There may be millions of them, so little is done for each."""

    def refuse(error):
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}")

    seen = set()
    for place, below, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(place)
        if real in seen:  # a link has led back
            below.clear()
            continue
        seen.add(real)
        below[:] = [name for name in below if not name.startswith(".")]
        found = [name for name in names if name.lower().endswith(ENDINGS) and not name.startswith(".")]
        readable = os.path.basename(place).isprintable()
        for name in found:
            if not (name.isprintable() and readable):
                raise ValueError(f"{os.path.join(place, name)!r} has a name that is no text: rename it")
        yield place, found


def read_list(path):
    """The lines of a text file; a byte order mark is none of them."""
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: save it as such") from error


def read_columns(path):
    """Further columns of a dataset, a CSV with one row per image by `path`: {path: {column: value}}."""
    if not path:
        return {}
    try:
        return dict(read_rows(path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file ({error})") from error


def read_rows(path):
    """(path, {column: value}) of each row of such a CSV."""
    with open(path, newline="", encoding="utf-8-sig") as opened:
        table = csv.DictReader(opened)
        names = table.fieldnames or []
        if "path" not in names or set(names) & OWN_COLUMNS:
            own = ", ".join(sorted(OWN_COLUMNS))
            raise ValueError(f"{path} needs a column path, and none called {own}: it has {', '.join(names)}")
        for row in table:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {table.line_num}: not as many cells as the first line has")
            yield row.pop("path"), row


def imagenet_classes():
    """The WordNet ids of ImageNet-1k in the order of a model's outputs."""
    from timm.data import ImageNetInfo

    return sorted(ImageNetInfo().label_names())


def read_categories(path):
    """Which classes make up a category: {category: [class]}, categories in the order of their names.

    path: a CSV with the columns class (or wnid, of ImageNet) and category; lines that begin with # are
    comments.
    Raises ValueError naming the file if it is another, or names a class twice.
    """
    table = csv.reader(line for line in read_list(path) if line.strip() and not line.startswith("#"))
    head, *rows = [[cell.strip() for cell in row] for row in table] or [[]]
    if head not in (["class", "category"], ["wnid", "category"]):
        raise ValueError(
            f"{path} needs the columns class,category (or wnid,category): it has {','.join(head)}"
        )
    categories, seen = {}, set()
    for row in rows:
        if len(row) != 2 or not all(row):
            raise ValueError(f"{path} has the line {','.join(row)!r}: it should be a class and a category")
        if row[0] in seen:
            raise ValueError(f"class {row[0]!r} stands in {path} twice")
        seen.add(row[0])
        categories.setdefault(row[1], []).append(row[0])
    if not categories:
        raise ValueError(f"{path} names no category")
    return {name: categories[name] for name in sorted(categories)}


def texture_class(path, name, classes):
    """What the texture of a cue-conflict stimulus stands for, as its name tells.

    airplane/airplane1-bicycle2.png has the shape of an airplane and the texture of a bicycle.

    path: of the image. name: its class folder. classes: all that a texture may stand for.
    Raises ValueError naming the image if its name is none of these.
    """
    told = re.fullmatch(rf"{re.escape(name)}\d+-(.+?)\d+", Path(path).stem)
    if not told:
        raise ValueError(
            f"{path} is not named as a stimulus with the shape of its folder, like {name}1-texture2"
        )
    if told[1] not in classes:
        raise ValueError(
            f"{path} has the texture {told[1]!r}, which is no class: there are {', '.join(classes)}"
        )
    return told[1]


def class_order(names, classes=None, categories=None):
    """The classes of a dataset in the order of a model's outputs.

    classes: a text file with a class folder a line. categories: a CSV (read_categories), whose categories
    are the classes. Without either, folders named by WordNet ids of ImageNet-1k stand for all of its 1,000
    classes in order of id, whichever of them are there; other folders are numbered in the order of their
    names.
    Raises ValueError naming a folder that is not in the list.
    """
    names = sorted(set(names))
    if classes:
        order = [line.strip() for line in read_list(classes) if line.strip()]
        where = classes
    elif categories:
        order, where = [*read_categories(categories)], categories
    elif all(WORDNET_ID.fullmatch(name) for name in names):
        order = imagenet_classes()
        where = "ImageNet-1k; give the dataset a list of its own, `classes: FILE`"
        if not set(names) & set(order):
            return names
    else:
        return names
    known = set(order)
    if len(known) < len(order):
        twice = next(name for name in order if order.count(name) > 1)
        raise ValueError(f"class {twice!r} stands in {where} twice")
    strange = [name for name in names if name not in known]
    if strange:
        raise ValueError(f"class folder {strange[0]!r} ({len(strange)} such) is not in {where}")
    return order
