"""The evaluation loop: one model on one dataset under every level and seed of one perturbation."""

import hashlib
import importlib.metadata
import json
import logging
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import adaptive_avg_pool2d

from patchwork import files, jobs, models, tables
from patchwork.views import View

# What a job that is killed may lose: a part is written each time that as many seconds have passed or as many
# images are done.
PART_SECONDS, PART_IMAGES = 60, 4096

COLUMNS = ["pred", "rank", "prob", "confidence", "lost", "tokens_lost", "tokens_cut", "finite"]


class Strip(View):
    """A view of a dataset and a model that looks at it; what is left open are levels, seeds and images.

    model: models.Model in its place. compute: the config's {dtype, batch_images, ...}; a lower dtype than
    float32 works by autocast, and batches are halved when memory ends. settings, needs: as of a View;
    needs_origin: what decides what is in them.
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
        covered = adaptive_avg_pool2d(dropped.float(), self.model.grid).flatten(1)
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

    def part(self, first, cells, advance):
        """Images from `first` on, until PART_SECONDS have passed or PART_IMAGES are done or none is left: the
        first image that is not in it, and a table of PREDICTIONS per cell.

        `advance` is told of the forward passes of each batch.
        """
        start, end = first, min(first + PART_IMAGES, len(self.data.labels))
        # One array for all batches: small pieces between the large tensors would scatter the heap.
        found = np.empty((len(cells), end - first, len(COLUMNS)), np.float32)
        ends = time.monotonic() + PART_SECONDS
        while start < end and (start == first or time.monotonic() < ends):
            stop = min(start + self.batch_images, end)
            try:
                found[:, start - first : stop - first] = self.decide_batch(start, stop, cells)
            except RuntimeError as error:
                self.batch_images = models.halved(self.batch_images, error, self.device)
                continue
            advance((stop - start) * len(cells))
            start = stop
        known = {"image": np.arange(first, start), "label": self.data.labels[first:start]}
        return start, [
            tables.predictions(level, seed, known | dict(zip(COLUMNS, cell.T, strict=True)))
            for (level, seed), cell in zip(cells, found[:, : start - first], strict=True)
        ]


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


def evaluate(strip, cells, store, path, code):
    """Write the predictions of all `cells` [(level, seed)] to `path`; compute only those not in `store`.

    Levels that the perturbation refuses for this model are left out; the file's metadata tell why.

    store: a folder that keeps every cell ever computed, one file each, under the digest of its origin:
    weights, images, settings and code (its fingerprint). While computing, cells grow in parts over the
    images; a job that was killed goes on with its parts.
    """
    origin = json.dumps(strip.origin | {"code": code}, sort_keys=True)
    name = hashlib.blake2b(origin.encode(), digest_size=16).hexdigest()
    folder = Path(store, name)
    folder.mkdir(parents=True, exist_ok=True)
    levels = dict.fromkeys(level for level, _ in cells)
    refused = {level: reason for level in levels if (reason := strip.refusal(level, strip.model))}
    for reason in dict.fromkeys(refused.values()):
        logging.info("left out: %s", reason)
    cells = [cell for cell in cells if cell[0] not in refused]
    kept = {cell: folder / f"level={float(cell[0])},seed={cell[1]}.parquet" for cell in cells}
    missing = [cell for cell, file in kept.items() if not readable(file)]
    own = f"part-{hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()}"  # two may share a folder
    logging.info("%d of %d cells to compute, the others are in the store", len(missing), len(cells))
    if missing:
        parts = compute(strip, missing, folder, own)
        for position, cell in enumerate(missing):
            rows = pa.concat_tables([pq.ParquetFile(part).read_row_group(position) for part in parts])
            with files.whole(kept[cell]) as temporary:
                tables.write(temporary, [rows.combine_chunks()], {})
    metadata = {
        "origin": name,
        "cells": json.dumps([kept[cell].name for cell in cells]),
        "computed_with": strip.computed_with,
        "refused": json.dumps([*refused.items()]),
    }
    with files.whole(path) as temporary:
        tables.write(temporary, (pq.read_table(kept[cell]) for cell in cells), metadata)
    for part in folder.glob(f"{own}-*.parquet"):
        part.unlink()


def compute(strip, cells, folder, own):
    """The files of all parts, a row group per cell each, in order of images; `own` begins their names."""
    total = len(strip.data.labels)
    asked = hashlib.blake2b(repr(cells).encode(), digest_size=8).hexdigest()
    parts, first = [], 0
    with jobs.progress(total=total * len(cells), unit="image", desc=folder.name[:8]) as bar:
        while first < total:
            done = [*filter(readable, folder.glob(f"{own}-{asked}-{first}-*.parquet"))]  # by a killed job
            if done:
                part, last = done[0], int(done[0].stem.split("-")[-1])
                bar.update((last - first) * len(cells))
            else:
                clock = time.monotonic()
                last, tables_of_cells = strip.part(first, cells, bar.update)
                part = folder / f"{own}-{asked}-{first}-{last}.parquet"
                with files.whole(part) as temporary:
                    tables.write(temporary, tables_of_cells, {})
                rate = (last - first) * len(cells) / (time.monotonic() - clock)
                left = (total - last) * len(cells) / rate
                logging.info(
                    "%d of %d images in %d cells, %.0f images/s, %.0f s left",
                    last,
                    total,
                    len(cells),
                    rate,
                    left,
                )
            parts.append(part)
            first = last
    return parts


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
