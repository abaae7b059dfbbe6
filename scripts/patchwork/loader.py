"""Batches to train on, from an image folder: the same ones wherever a training stopped and went on.

Random numbers belong to (run, epoch, place in the epoch): no number of workers, processes or resumptions
changes what an image looks like. timm's create_loader shuffles by itself and cannot begin inside an epoch,
so that its parts are put together here: transform, collation, and the loader that normalises on the device.
"""

import hashlib
import random
from pathlib import Path

import numpy as np
import torch
from timm.data import create_transform
from timm.data.loader import PrefetchLoader, fast_collate

from patchwork import pixels

KEPT_BYTES = 1 << 30  # of decoded images, in each process: a small folder is decoded once, not once an epoch


def seed(*name):
    """Start the generators of Python, numpy and torch from a name."""
    digest = hashlib.blake2b("\0".join(map(str, name)).encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "little")
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)  # torch.manual_seed notes a stack trace for every GPU to come
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


class Images(torch.utils.data.Dataset):
    """Images of a folder as pack_images would take and decode them, transformed.

    rows: of folders.listing. fixed: the transform draws no random numbers, so that what it makes is kept. An
    image is asked for by (epoch, place in the epoch, row). One that cannot be read raises ValueError with
    its path, even where packing would leave it out: timm's own folder would train on another one in its
    place.
    """

    def __init__(self, run, folder, rows, classes, transform, fixed=False):
        numbers = {name: number for number, name in enumerate(classes)}
        self.rows = [(Path(folder, path), numbers[name]) for name, path in rows]
        self.run, self.transform, self.fixed = run, transform, fixed
        self.kept, self.kept_bytes = {}, 0

    def __len__(self):
        return len(self.rows)

    def decoded(self, row):
        """An image of PIL, or what a fixed transform makes of it; made once if all of them can be kept."""
        if row in self.kept:
            return self.kept[row]
        image = pixels.decode(self.rows[row][0])
        self.kept_bytes += 3 * image.width * image.height
        if self.fixed:
            image = self.transform(image)
        if self.kept_bytes < KEPT_BYTES:
            self.kept[row] = image
        return image

    def __getitem__(self, index):
        epoch, place, row = index
        image, label = self.decoded(row), self.rows[row][1]
        if not self.fixed:
            seed(self.run, epoch, place)
            image = self.transform(image)
        return image, label


class Order:
    """Which images make up each batch of an epoch, as lists of (epoch, place, row); a batch sampler.

    The images that are left at the end of an epoch, fewer than a batch, wait for another one. repeats: each
    image is seen so often in an epoch, by turns of the shuffled images, so that an epoch sees fewer of them
    (repeated augmentation, Hoffer et al. 2020, as DeiT has it). Of several processes, each takes every so
    many-th place.
    """

    def __init__(self, run, images, batch_images, repeats=1, rank=0, processes=1):
        self.run, self.images, self.batch_images, self.repeats = run, images, batch_images, repeats
        self.rank, self.processes = rank, processes
        self.steps = images // batch_images
        self.epoch, self.first = 1, 0

    def begin(self, epoch, step):
        """Go on with this epoch, after this many of its steps."""
        self.epoch, self.first = epoch, step

    def __len__(self):
        return self.steps - self.first

    def __iter__(self):
        generator = torch.Generator().manual_seed(
            int(hashlib.blake2b(f"{self.run}\0{self.epoch}".encode(), digest_size=6).hexdigest(), 16)
        )
        rows = torch.randperm(self.images, generator=generator)
        rows = rows.repeat_interleave(self.repeats)[: self.images].tolist()
        for step in range(self.first, self.steps):
            places = range(
                step * self.batch_images + self.rank, (step + 1) * self.batch_images, self.processes
            )
            yield [(self.epoch, place, rows[place]) for place in places]


def transform(size, recipe):
    """PIL image -> uint8 [3, H, W] of numpy: timm's, with the words of the recipe in `augmentation`;
    without any, the middle of the image."""
    augmentation = recipe.get("augmentation")
    return create_transform(
        (3, *size),
        is_training=True,
        no_aug=augmentation is None,
        use_prefetcher=True,  # which normalises
        **(augmentation or {}),
    )


def load(images, order, device, workers, statistics):
    """The batches of `order`, an epoch for each iteration: (float [N, 3, H, W], int64 [N]) on the device.

    statistics: the (mean, std) that images in [0, 1] are normalised with. None for a transform that makes
    several normalised views of an image: then a batch has a list of float tensors, a view each.
    """
    loader = torch.utils.data.DataLoader(
        images,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=fast_collate if statistics else None,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,  # they keep what they have decoded
        multiprocessing_context="fork" if workers else None,  # others run the caller's script again
    )
    return PrefetchLoader(loader, *statistics, device=device) if statistics else Views(loader, device)


class Views:
    """Batches of several views, moved to the device."""

    def __init__(self, loader, device):
        self.loader, self.device = loader, device

    def __iter__(self):
        for views, labels in self.loader:
            yield [view.to(self.device, non_blocking=True) for view in views], labels.to(self.device)
