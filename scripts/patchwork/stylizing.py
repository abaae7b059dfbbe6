"""Image folders in the styles of others, each image in one: as Geirhos et al. made Stylized-ImageNet (2019).

A set is stylized by any number of jobs, which leave their images in one folder, the store; `gather` makes an
image folder of it. No pixel depends on how many jobs there were: images are computed in the same batches by
any of them, and the style of an image is drawn by (name of the set, path of the image).
"""

import csv
import logging
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

from patchwork import adain, files, folders, foreground, jobs, noise, pixels, sheets

log = logging.getLogger(__name__)

BATCH_IMAGES = 16  # computed together: a batch of another size might round another way
LOGGED_SECONDS = 60
PNG_END = b"IEND\xaeB`\x82"
# OpenCV writes a PNG of small images in half of Pillow's time, and no larger.
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
SHEET_IMAGES = 6


class Pictures:
    """The image files of a folder, seen by `view` (pixels.view), as batches on a device; `pool` decodes."""

    def __init__(self, folder, view, device, pool):
        self.folder, self.view, self.device, self.pool = Path(folder), view, device, pool

    def read(self, path):
        """One image, uint8 [H, W, 3]. Raises ValueError naming the file."""
        return np.asarray(self.view(pixels.decode(self.folder / path)))

    def later(self, paths):
        """Images that are on their way: a list of futures."""
        return [self.pool.submit(self.read, path) for path in paths]

    def batch(self, futures):
        """Images that were on their way: float32 [N, 3, H, W] in [0, 1]."""
        images = torch.from_numpy(np.stack([future.result() for future in futures])).to(self.device)
        # In this layout: arithmetic on three channels is slower in that of a CNN.
        return images.permute(0, 3, 1, 2).contiguous().float().div_(255)


def train(encoder, name, entry, contents, styles, view, threads=1, keeper=None, origin=""):
    """The decoder of a stylizer, trained on image files, and its losses; keeper, origin: see adain.train.

    contents, styles: (folder, paths). view: {resize, crop, interpolation} of both (pixels.view). Images of
    a step are drawn by (name, step), whatever steps went before, and read while the step before is taken.
    """
    with ThreadPoolExecutor(threads) as pool:

        def batches(first):
            sides = []
            for kind, (folder, paths) in (("content", contents), ("style", styles)):
                pictures = Pictures(folder, pixels.view(**view), encoder.model.mean.device, pool)
                sides.append(drawn(pictures, paths, name, kind, entry, first))
            return zip(*sides, strict=True)

        return adain.train(encoder, name, entry, batches, keeper, origin)


def drawn(pictures, paths, name, kind, entry, first):
    """The batches of the steps from `first` on: float32 [N, 3, H, W]."""

    def later(step):
        uniform = noise.uniform(torch.tensor([noise.key(0, name, str(step), kind)]), entry["batch_images"])
        return pictures.later([paths[index] for index in (uniform[0] * len(paths)).long()])

    ahead = later(first)
    for step in range(first, entry["steps"] + 1):
        now, ahead = ahead, later(step + 1)
        yield pictures.batch(now)


def rows(name, contents, styles, columns=None, images=None, listed=(None, None)):
    """What a stylized set is made of, a dict for each image: {path, content, style, ...}.

    name: the set's. contents: an image folder, of which `images` are taken (folders.listing). styles: a
    folder (folders.below). columns: the CSV of the contents (folders.read_columns); what it tells stays.
    listed: text files of the contents and of the styles to take (folders.named), if not all of them.
    Raises ValueError if two images would have the same name as PNG.
    """
    found = [path for _, path in folders.listing(contents, images, listed[0])]
    others, more = folders.below(styles, listed[1]), folders.read_columns(columns)
    keys = torch.tensor([noise.key(0, name, path, "style") for path in found])
    drawn = (noise.uniform(keys, 1)[:, 0] * len(others)).long().tolist()
    taken, listed = {}, []
    for content, style in zip(found, drawn, strict=True):
        path = str(Path(content).with_suffix(".png"))
        if path in taken:
            raise ValueError(f"{contents}: {taken[path]} and {content} would both become {path}: rename one")
        taken[path] = content
        own = {"path": path, "content": content, "style": others[style]}
        listed.append(own | {key: value for key, value in more.get(content, {}).items() if key not in own})
    return listed


def shard(found, number, count):
    """The rows of one of `count` jobs: whole batches, so that each is the same in whichever job."""
    batches = -(-len(found) // BATCH_IMAGES)
    first, last = (n * batches // count * BATCH_IMAGES for n in (number, number + 1))
    return found[first:last]


def stylize(found, store, encoder, decoder, contents, styles, view, *, alpha=1.0, threads=1):
    """Stylize the images of some rows, PNG files by their path in the folder `store`, and return the paths.
    Batches that are there already are not computed again.

    found: of `shard`. encoder: adain.Encoder. decoder: of adain.decoder. contents, styles: folders. view:
    {resize, crop, interpolation} of both (pixels.view). threads: that decode and write files beside torch.
    Raises ValueError naming a content or a style that cannot be read.
    """
    batches = [found[first : first + BATCH_IMAGES] for first in range(0, len(found), BATCH_IMAGES)]
    missing = [batch for batch in batches if not all(whole(Path(store, row["path"])) for row in batch)]
    log.info("%d of %d batches to stylize, the others are in the store", len(missing), len(batches))
    for folder in {Path(store, row["path"]).parent for batch in missing for row in batch}:
        folder.mkdir(parents=True, exist_ok=True)
    images, start = sum(map(len, missing)), time.monotonic()
    with (
        ThreadPoolExecutor(threads) as pool,
        jobs.progress(total=len(found), initial=len(found) - images, unit="image", desc="stylize") as bar,
    ):
        work, told, done = Work(encoder, decoder, contents, styles, view, alpha, pool), start, 0
        for batch, seen in work.run(missing):
            work.write([Path(store, row["path"]) for row in batch], seen)
            done += len(batch)
            bar.update(len(batch))
            if time.monotonic() > told + LOGGED_SECONDS or done == images:
                told = time.monotonic()
                log.info("%d of %d images stylized, %.0f images/s", done, images, done / (told - start))
        work.end()
    return [row["path"] for row in found]


def adopt(found, store, folder):
    """Take images of some rows into a store from the store of that name in the folder of another run, if it
    has one; such a name stands for all that decides the images.

    found: of `shard`.
    """
    for row in found if folder else ():
        own, other = Path(store, row["path"]), Path(folder, store, row["path"])
        if whole(other) and not whole(own):
            own.parent.mkdir(parents=True, exist_ok=True)
            own.unlink(missing_ok=True)
            link(other, own)


class Work:
    """Contents and styles on their way through a network, decoded and written by threads beside it."""

    def __init__(self, encoder, decoder, contents, styles, view, alpha, pool):
        self.encoder, self.decoder, self.alpha = encoder, decoder, alpha
        device, transform = encoder.model.mean.device, pixels.view(**view)
        self.pool = pool
        self.contents = Pictures(contents, transform, device, pool)
        self.styles = Pictures(styles, transform, device, pool)
        self.known, self.writing = {}, []

    def run(self, batches):
        """Each batch of rows with its images, uint8 [N, H, W, 3]; the next is read meanwhile."""
        ahead = [self.read(batch) for batch in batches[:1]]
        for position, batch in enumerate(batches):
            contents, styles = ahead.pop()
            ahead += [self.read(following) for following in batches[position + 1 : position + 2]]
            yield batch, self.draw(batch, contents, styles)

    def read(self, batch):
        """A batch as it will be: futures of its contents, and of those styles that are not known yet."""
        unknown = {row["style"] for row in batch} - set(self.known)
        return self.contents.later([row["content"] for row in batch]), {
            style: self.styles.later([style]) for style in sorted(unknown)
        }

    @torch.inference_mode()
    def draw(self, batch, contents, styles):
        """The images of a batch, uint8 [N, H, W, 3]."""
        for style, futures in styles.items():
            if style not in self.known:  # each alone, so that it is the same whatever the others are
                self.known[style] = adain.statistics(self.encoder(self.styles.batch(futures))[-1])
        wanted = [self.known[row["style"]] for row in batch]
        means, deviations = (torch.cat(part) for part in zip(*wanted, strict=True))
        features = self.encoder(self.contents.batch(contents))[-1]
        seen = self.decoder(adain.adapt(features, means, deviations, self.alpha)).clamp_(0, 1)
        return seen.mul_(255).round_().byte().permute(0, 2, 3, 1).cpu().numpy()

    def write(self, paths, images):
        """Write images, uint8 [N, H, W, 3], as PNG files; those of the batch before are waited for."""
        self.end()
        self.writing = [
            self.pool.submit(save, image, path) for image, path in zip(images, paths, strict=True)
        ]

    def end(self):
        """Wait until all that was drawn is written."""
        for future in self.writing:
            future.result()


def save(image, path):
    """An image as PNG under its name once it is whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    channels = image[..., ::-1] if image.ndim == 3 else image  # OpenCV means blue, green, red
    try:
        with files.room(path):
            temporary.write_bytes(cv2.imencode(".png", channels, PNG)[1].tobytes())
            os.replace(temporary, path)
    except BaseException:
        files.remove(temporary)
        raise


def whole(path):
    """Whether a PNG file is there to its end; after a crash of the system it may be cut short."""
    try:
        with open(path, "rb") as opened:
            opened.seek(-len(PNG_END), os.SEEK_END)
            return opened.read() == PNG_END
    except OSError:
        return False


def gather(found, store, folder, contents, view, columns=None, threads=1):
    """Make an image folder of what is in a store, once all is there:

    images/<path>       as in the store, by a hard link where the disk has them
    masks/<path>        of the rows that have a mask: cropped like the image, 255 where the object is
    index.csv           path, content, style and the further columns of the contents

    found: of `rows`. contents, view, columns: as of `stylize` and `rows`.
    Raises ValueError naming a mask that cannot be read.
    """
    folder, transform = Path(folder), pixels.view(**(view | {"interpolation": "nearest"}))
    masked = [row for row in found if row.get("mask")]
    for kind, listed in (("images", found), ("masks", masked)):
        (folder / kind).mkdir(parents=True)
        for place in {Path(folder, kind, row["path"]).parent for row in listed}:
            place.mkdir(parents=True, exist_ok=True)
    for row in found:
        link(Path(store, row["path"]), folder / "images" / row["path"])

    def crop(row):
        mask = foreground.read_mask(
            Path(columns or "").parent / row["mask"], Path(contents, row["content"]), transform
        )
        save(mask[0].astype(np.uint8) * 255, folder / "masks" / row["path"])

    with ThreadPoolExecutor(threads) as pool:
        for _ in jobs.progress(pool.map(crop, masked), total=len(masked), unit="image", desc="masks"):
            continue
    names = dict.fromkeys(name for row in found for name in row)
    with open(folder / "index.csv", "w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | ({"mask": f"masks/{row['path']}"} if row.get("mask") else {}) for row in found)


def link(source, target):
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)


def sheet(index, images, contents, styles, view):
    """A few images of a stylized set as rows, spread over it: content, style, result (a PIL image).

    index: its index.csv. images, contents, styles: folders. view: as of `stylize`.
    """
    with open(index, newline="", encoding="utf-8") as opened:
        found = [*csv.DictReader(opened)]
    chosen = [found[i * len(found) // SHEET_IMAGES] for i in range(SHEET_IMAGES)]
    transform = pixels.view(**view)
    return sheets.tiled(
        [
            [
                np.asarray(transform(pixels.decode(Path(folder, row[key]))), np.float32) / 255
                for folder, key in ((contents, "content"), (styles, "style"), (images, "path"))
            ]
            for row in chosen
        ]
    )
