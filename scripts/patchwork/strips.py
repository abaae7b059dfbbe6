"""The evaluation loop: one model on one dataset under every level and seed of one perturbation."""

import hashlib
import importlib.metadata
import json
import logging
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from patchwork import files, grids, jobs, models, packed, tables
from patchwork.views import View

# What a job that is killed may lose: a part is written each time that as many seconds have passed or as many
# images are done.
PART_SECONDS, PART_IMAGES = 60, 4096

COLUMNS = ["pred", "rank", "prob", "confidence", "lost", "tokens_lost", "tokens_cut", "finite"]


class Strip(View):
    """A view of a dataset and a model that looks at it; what is left open are levels, seeds and images.

    model: models.Model in its place. compute: the config's {dtype, batch_images, ...}; a lower dtype than
    float32 works by autocast, and batches are halved when memory ends. settings, needs: as of a View;
    needs_origin: what decides what is in them. `passes` (images times cells) and `seconds` tell what it has
    computed so far.
    """

    def __init__(
        self,
        model,
        data,
        dataset,
        perturbation,
        variant,
        compute,
        settings=None,
        needs=None,
        needs_origin=None,
    ):
        super().__init__(data, dataset, perturbation, variant, model.mean.device, settings, needs)
        self.needs_origin = {"needs": needs_origin} if needs_origin else {}
        self.model, self.batch_images = model, compute["batch_images"]
        self.dtype = getattr(torch, compute["dtype"])
        self.passes, self.seconds = 0, 0.0

    @property
    def computed_with(self):
        """What a reader of the predictions wants to know of the computation, in words."""
        versions = (f"{name} {importlib.metadata.version(name)}" for name in ("torch", "timm"))
        return f"{', '.join(versions)} on {self.device.type} in {str(self.dtype).removeprefix('torch.')}"

    @property
    def origin(self):
        """All that decides the predictions but code, levels and seeds."""
        return {
            **self.model.origin,
            "images": self.data.digest,
            "dataset": self.dataset,
            "perturbation": self.perturbation,
            **self.arguments,
            **self.needs_origin,
            "layout": str(self.model.layout),
            "computed_with": self.computed_with,
        }

    @torch.inference_mode()
    def decide(self, seen):
        """Logits of images, float32 [N, classes]."""
        with models.autocast(self.device, self.dtype):
            return self.model(seen).float()

    def tokens(self, dropped):
        """The shares of the model's tokens that are blacked out wholly and in part: two float32 [N]; 0 where
        nothing is blacked out (None), NaN for a model that does not cut images into tokens.
        """
        images = len(dropped) if dropped is not None else 1
        if dropped is None or self.model.grid is None:
            share = torch.full([images], 0.0 if self.model.grid else torch.nan, device=self.device)
            return share, share
        covered = grids.over_tokens(dropped.float(), self.model)
        wholly, partly = covered > 1 - 1e-6, covered > 1e-6
        return wholly.float().mean(1), (partly & ~wholly).float().mean(1)

    def decisions(self, batch, level, seed):
        """One cell for a batch: float32 [N, columns] on the device, the columns of COLUMNS."""
        seen, dropped = self.perturb(batch, level, seed, self.model)
        with self.inside(batch, level, seed, self.model):
            logits = self.decide(seen)
        labels = batch.labels[:, None]
        lost = torch.zeros(1, device=self.device) if dropped is None else dropped.float().mean((1, 2, 3))
        pred, probability = logits.argmax(1, keepdim=True), logits.softmax(1)
        columns = [
            pred[:, 0],
            models.ranks(logits, batch.labels),
            probability.gather(1, labels)[:, 0],
            probability.gather(1, pred)[:, 0],
            lost,
            *self.tokens(dropped),
            logits.isfinite().all(1),
        ]
        return torch.stack([column.float().expand(len(logits)) for column in columns], 1)

    def decide_batch(self, first, last, cells):
        """Images first..last, read once, in all cells: float32 [cells, N, len(COLUMNS)].

        Raises ValueError naming model, level and image if a logit is NaN or infinite.
        """
        batch = self.batch(first, last)
        # Nothing waits for the device before all cells are on their way.
        found = torch.stack([self.decisions(batch, level, seed) for level, seed in cells])
        found = found.cpu().numpy()
        if not found[:, :, -1].all():
            cell, image = np.argwhere(found[:, :, -1] == 0)[0]
            raise ValueError(
                f"{self.model.origin['timm']} gives NaN or infinite logits for image "
                f"{self.data.paths[first + image]} of {self.dataset} at level {cells[cell][0]:g} of "
                f"{self.perturbation}, computing in {self.dtype}"
            )
        return found

    def part(self, first, last, cells, advance):
        """Images from `first` on, until PART_SECONDS have passed, PART_IMAGES are done or `last` is reached:
        the first image that is not in it, and a table of PREDICTIONS per cell.

        `advance` is told of the forward passes of each batch.
        """
        most = max(1, PART_IMAGES // self.batch_images) * self.batch_images  # whole batches, see `share`
        start, end, began = first, min(first + most, last), time.monotonic()
        # One array for all batches: small pieces between the large tensors would scatter the heap.
        found = np.empty((len(cells), end - first, len(COLUMNS)), np.float32)
        while start < end and (start == first or time.monotonic() < began + PART_SECONDS):
            stop = min(start + self.batch_images - start % self.batch_images, end)
            try:
                found[:, start - first : stop - first] = self.decide_batch(start, stop, cells)
            except RuntimeError as error:
                self.batch_images = models.halved(self.batch_images, error, self.device)
                continue
            advance((stop - start) * len(cells))
            start = stop
        self.passes += (start - first) * len(cells)
        self.seconds += time.monotonic() - began
        known = {"image": np.arange(first, start), "label": self.data.labels[first:start]}
        return start, [
            tables.predictions(level, seed, known | dict(zip(COLUMNS, cell.T, strict=True)))
            for (level, seed), cell in zip(cells, found[:, : start - first], strict=True)
        ]


def of_job(given, where, params):
    """The strip that a job computes, whole or a share of it.

    given: the paths of its images, index and weights, and of what the perturbation needs. where: its dataset,
    perturbation and variant. params: its model (an entry of the config), compute, settings and needs.
    """
    data = packed.Packed(given.images, given.index)
    model = models.build(params.model, given.weights, data.classes, data.categories)
    return Strip(
        models.place(model, params.compute),
        data,
        where.dataset,
        where.perturbation,
        where.variant,
        params.compute,
        settings=params.settings,
        needs={name: given[name] for name in params.needs},
        needs_origin=params.needs,
    )


def share(images, batch_images, shard, shards):
    """The images first..last of a dataset that one of so many shards computes.

    They are whole batches: every image is computed beside the same others, so that not even a rounding tells
    how many shards there were.
    """
    batches = -(-images // batch_images)
    first, last = (min(images, part * batches // shards * batch_images) for part in (shard, shard + 1))
    return first, last


def readable(path):
    """Whether a parquet file is there and whole; one that the disk has damaged is removed."""
    try:
        pq.read_metadata(path)
    except FileNotFoundError:
        return False
    except (OSError, pa.ArrowInvalid) as error:
        logging.warning("%s is damaged and computed again (%s)", path, error)
        path.unlink()
        return False
    return True


class Kept:
    """The cells [(level, seed)] of a strip in a store, a folder that keeps every cell ever computed: a file
    each, under the digest of its origin: weights, images, settings and code (its fingerprint).

    `files`: {cell: path}, whether it is there or not, without the levels that the perturbation refuses for
    this model; `refused` tells why, {level: reason}. While computing, cells grow in parts over the images.
    Parts bear the name of `path`, that of the strip: others may be computed in the same folder.
    """

    def __init__(self, strip, cells, store, path, code):
        origin = json.dumps(strip.origin | {"code": code}, sort_keys=True)
        self.name = hashlib.blake2b(origin.encode(), digest_size=16).hexdigest()
        self.folder = Path(store, self.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.own = f"part-{hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()}"
        levels = dict.fromkeys(level for level, _ in cells)
        self.refused = {level: reason for level in levels if (reason := strip.refusal(level, strip.model))}
        for reason in dict.fromkeys(self.refused.values()):
            logging.info("left out: %s", reason)
        names = {cell: f"level={float(cell[0])},seed={cell[1]}.parquet" for cell in cells}
        self.files = {cell: self.folder / name for cell, name in names.items() if cell[0] not in self.refused}

    def missing(self):
        """The cells that are still to be computed."""
        missing = [cell for cell, file in self.files.items() if not readable(file)]
        logging.info("%d of %d cells to compute, the others are in the store", len(missing), len(self.files))
        return missing

    def parts(self):
        """The parts that are there, each a file with a row group per cell."""
        for path in filter(readable, self.folder.glob(f"{self.own}-*.parquet")):
            cells = json.loads(pq.read_schema(path).metadata[b"cells"])
            first, last = map(int, path.stem.split("-")[2:4])
            yield Part(path, first, last, [tuple(cell) for cell in cells])

    def write(self, cells, first, last, found):
        """A new part: images first..last in some cells, a table of each."""
        told = json.dumps(cells)
        name = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
        path = self.folder / f"{self.own}-{first}-{last}-{name}.parquet"
        with files.whole(path) as temporary:
            tables.write(temporary, found, {"cells": told})
        return Part(path, first, last, cells)


class Part(NamedTuple):
    """The file of images first..last of a strip in some cells."""

    path: Path
    first: int
    last: int
    cells: list

    def rows(self, cell, first, last):
        """A table of images first..last, which are among its own, in one of its cells."""
        rows = pq.ParquetFile(self.path).read_row_group(self.cells.index(cell))
        return rows.slice(first - self.first, last - first)


def evaluate(strip, cells, store, path, code):
    """Write the predictions of all `cells` [(level, seed)] to `path`; compute only what is not in `store`
    (see Kept), neither as a cell nor in parts, be they of a job that was killed or of shards.

    Levels that the perturbation refuses for this model are left out; the file's metadata tell why.
    """
    kept = Kept(strip, cells, store, path, code)
    if missing := kept.missing():
        pieces = compute(strip, missing, kept, 0, len(strip.data.labels))
        for cell in missing:
            rows = pa.concat_tables([part.rows(cell, first, last) for part, first, last in pieces])
            with files.whole(kept.files[cell]) as temporary:
                tables.write(temporary, [rows.combine_chunks()], {})
    metadata = {
        "origin": kept.name,
        "cells": json.dumps([file.name for file in kept.files.values()]),
        "computed_with": strip.computed_with,
        "refused": json.dumps([*kept.refused.items()]),
    }
    with files.whole(path) as temporary:
        tables.write(temporary, map(pq.read_table, kept.files.values()), metadata)
    for part in [*kept.parts()]:
        part.path.unlink()


def evaluate_shard(strip, cells, store, path, code, shard, shards):
    """Leave the share of one of so many shards in `store`, as parts of the strip that `evaluate` will write
    to `path`."""
    kept = Kept(strip, cells, store, path, code)
    first, last = share(len(strip.data.labels), strip.batch_images, shard, shards)
    if missing := kept.missing():
        compute(strip, missing, kept, first, last)


def compute(strip, cells, kept, first, last):
    """Images first..last in some cells, in pieces: [(part, first, last)] one after the other. What parts hold
    already is taken, whoever left them and wherever they begin and end; the rest becomes new parts."""
    known = [part for part in kept.parts() if {*cells} <= {*part.cells}]
    pieces, start, total = [], first, (last - first) * len(cells)
    with jobs.progress(total=total, unit="image", desc=kept.name[:8]) as bar:
        while start < last:
            there = [part for part in known if part.first <= start < part.last]
            if there:
                part = max(there, key=lambda part: part.last)
                bar.update((min(part.last, last) - start) * len(cells))
            else:
                gap = min([last, *(part.first for part in known if part.first > start)])
                stop, found = strip.part(start, gap, cells, bar.update)
                part = kept.write(cells, start, stop, found)
                rate = strip.passes / strip.seconds
                left = (last - stop) * len(cells) / rate
                counts = stop - first, last - first, len(cells)
                logging.info("%d of %d images in %d cells, %.0f images/s, %.0f s left", *counts, rate, left)
            stop = min(part.last, last)
            pieces.append((part, start, stop))
            start = stop
    return pieces


def clear(store, strips):
    """Delete from a store all cells that none of the strips (paths) was assembled from."""
    used = set()
    for path in strips:
        metadata = pq.read_schema(path).metadata
        used |= {Path(store, metadata[b"origin"].decode(), cell) for cell in json.loads(metadata[b"cells"])}
    for folder in Path(store).iterdir():
        for file in folder.iterdir():
            if file not in used:
                file.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()
