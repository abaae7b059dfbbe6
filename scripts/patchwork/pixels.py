"""Packed images: every image decoded, resized and cropped once, in one array that is read as it is."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from patchwork import without_compiler  # noqa: F401 - before anything imports torchvision

# isort: split
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from patchwork import files, folders, jobs

BLOCK_IMAGES = 256  # decoded at a time, so that memory does not grow with the dataset


def decode(path):
    """An image file as RGB, upright by its EXIF orientation; transparent parts become white.

    Raises ValueError naming the file if it is empty, cut short or no image.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        empty = os.path.isfile(path) and not os.path.getsize(path)
        problem = "is empty" if empty else f"cannot be read ({error})"
        raise ValueError(f"{path} {problem}") from error
    if image.mode.startswith("I"):  # 16 bits; PIL's own conversion would clip them at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def view(resize, crop, interpolation):
    """The one view of all models: shorter side to `resize` px, then the `crop` px square at the centre."""
    mode = InterpolationMode(interpolation)
    return Compose([Resize(resize, interpolation=mode), CenterCrop(crop)])


def pack(
    root,
    array_path,
    index_path,
    pixels,
    *,
    classes=None,
    categories=None,
    columns=None,
    names=None,
    images=None,
    listed=None,
    skip=False,
    threads=1,
):
    """Pack an image folder: uint8 [N, 3, crop, crop] in a .npy file, and its index in parquet.

    Columns of the index: image (row in the array; null if the file was left out), label, class_name,
    path (the image's name for ever: random numbers hang on it), problem (why it was left out), then
    those of the CSV `columns`. Its metadata hold the classes in order, the classes that each is made of where
    they are categories, and the digest of pixels and labels.

    pixels: {resize, crop, interpolation}. classes, categories: files (folders.class_order). columns: a
    CSV (folders.read_columns). names: "cue_conflict" if the names of files tell a texture_class
    (folders.texture_class). images, listed: of folders.listing; columns may also tell of images that are not
    listed. skip: leave corrupt files out instead of stopping.
    Raises ValueError naming the file or folder at fault.
    """
    everything = folders.listing(root, listed=listed)
    found = folders.thinned(everything, images)
    order = folders.class_order([name for name, _ in everything], classes, categories)
    labels = {name: label for label, name in enumerate(order)}
    extra = folders.read_columns(columns)
    there = folders.below(root) if listed and extra else [path for _, path in everything]
    if lost := set(extra).difference(there):
        raise ValueError(f"{columns} tells of {min(lost)!r} ({len(lost)} such), which is no image of {root}")
    if names == "cue_conflict":
        if any("texture_class" in row for row in extra.values()):
            raise ValueError(
                f"{columns} tells a texture_class and so do the names of files: keep one of them"
            )
        for name, path in everything:
            extra[path] = {**extra.get(path, {}), "texture_class": folders.texture_class(path, name, order)}
    transform = view(**pixels)

    def load(path):
        try:
            return np.asarray(transform(decode(Path(root, path)))).transpose(2, 0, 1), None
        except ValueError as error:
            if skip:
                return None, str(error)
            advice = "replace or remove it, or set `corrupt: skip` for the dataset"
            raise ValueError(f"{error}: {advice}") from error

    shape = (3, pixels["crop"], pixels["crop"])
    digest = hashlib.blake2b(digest_size=16)
    rows, packed = [], 0
    with (
        files.whole(array_path) as temporary,
        open(temporary, "wb") as array,
        ThreadPoolExecutor(threads) as pool,
    ):
        write_header(array, len(found), shape)
        with jobs.progress(total=len(found), unit="image", desc="pack") as bar:
            for first in range(0, len(found), BLOCK_IMAGES):
                block = found[first : first + BLOCK_IMAGES]
                for (name, path), (image, problem) in zip(
                    block, pool.map(load, [p for _, p in block]), strict=True
                ):
                    if image is not None:
                        data = image.tobytes()
                        array.write(data)
                        digest.update(f"{path}\0{labels[name]}\0".encode() + data)
                    rows.append(
                        {
                            "image": None if image is None else packed,
                            "label": labels[name],
                            "class_name": name,
                            "path": path,
                            "problem": problem,
                            **extra.get(path, {}),
                        }
                    )
                    packed += image is not None
                bar.update(len(block))
        if not packed:
            raise ValueError(f"no image of {root} could be read")
        array.seek(0)
        write_header(array, packed, shape)
    made_of = folders.read_categories(categories) if categories else None
    write_index(index_path, rows, {"classes": order, "categories": made_of}, digest.hexdigest())
    return packed, len(found) - packed


def write_header(file, images, shape):
    """The header of a .npy file; numpy pads it so that its length does not depend on `images`."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (images, *shape)}
    np.lib.format.write_array_header_1_0(file, header)


def write_index(path, rows, facts, digest):
    fields = [
        ("image", pa.int32()),
        ("label", pa.int16()),
        ("class_name", pa.string()),
        ("path", pa.string()),
    ]
    fields += [("problem", pa.string())]
    fields += [
        (name, pa.string())
        for name in dict.fromkeys(k for row in rows for k in row)
        if name not in dict(fields)
    ]
    told = {key: json.dumps(fact) for key, fact in facts.items() if fact is not None}
    schema = pa.schema(fields, metadata={**told, "digest": digest})
    with files.whole(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary, compression="zstd")
