"""One measure of one model on one dataset, whatever it measures (the files in measures/)."""

import importlib
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from PIL import Image

from patchwork import files, jobs, models, packed


class Subject:
    """What is measured: a model (models.Model in its place), images, and how.

    data: packed.Packed, or what else the measure reads. dataset: its name, for the random numbers. compute:
    the config's {dtype, batch_images, ...}; a lower dtype than float32 works by autocast. settings: of the
    measure. seeds: of random perturbations.
    """

    def __init__(self, model, data, dataset, compute, settings, seeds):
        self.model, self.data, self.dataset, self.settings, self.seeds = model, data, dataset, settings, seeds
        self.device, self.dtype = model.mean.device, getattr(torch, compute["dtype"])
        self.batch_images = compute["batch_images"]

    def each(self, look):
        """What `look(first, last)` finds in images first..last, batch after batch.

        `look` must change nothing: when memory ends, it is asked again about half of the images.
        """
        images = len(self.data.paths)
        with jobs.progress(total=images, unit="image", desc=self.dataset) as bar:
            first = 0
            while first < images:
                last = min(first + self.batch_images, images)
                try:
                    with torch.inference_mode(), models.autocast(self.device, self.dtype):
                        found = look(first, last)
                except RuntimeError as error:
                    self.batch_images = models.halved(self.batch_images, error, self.device)
                    continue
                yield found
                bar.update(last - first)
                first = last

    def pixels(self, first, last):
        """Images first..last of packed ones: float32 [N, 3, H, W] in [0, 1]."""
        return packed.pixels(self.data, first, last, self.device)

    def finite(self, values, first, last):
        """`values`, of images first..last; ValueError naming the images if NaN or infinity is in it."""
        if not values.isfinite().all():
            paths = f"{self.data.paths[first]} to {self.data.paths[last - 1]}"
            raise ValueError(
                f"{self.model.origin['timm']} gives NaN or infinite values for {paths} of {self.dataset}, "
                f"computing in {self.dtype}"
            )
        return values


def measure(name, subject, table_path, examples_path):
    """Write what a measure finds: a table of its COLUMNS, and arrays of a few images for pictures.

    Where the measure has no meaning for the model, both are empty and the metadata of the table tell why.
    """
    module = importlib.import_module(f"patchwork.measures.{name}")
    reason = module.refuses(subject.model)
    if reason:
        logging.info("left out: %s", reason)
    columns, examples = ({}, {}) if reason else module.measure(subject)
    fields = {column: pa.type_for_alias(kind) for column, kind in module.COLUMNS.items()}
    arrays = [pa.array(np.asarray(columns.get(c, [])), kind, from_pandas=True) for c, kind in fields.items()]
    rows = pa.table(arrays, pa.schema(fields, {"refused": reason or ""}))
    with files.whole(examples_path) as path:
        safetensors.torch.save_file({key: value.contiguous().cpu() for key, value in examples.items()}, path)
    with files.whole(table_path) as path:
        pq.write_table(rows, path, compression="zstd")


def picture(name, paths):
    """A picture of what a measure has kept, and the names of its columns and rows: {"columns", "rows"}.

    paths: of the examples of each model. Models that have none are left out; of none it is an empty picture.
    """
    kept = {}
    for model, path in paths.items():
        with files.reading(path):
            kept[model] = safetensors.torch.load_file(path)
    kept = {model: examples for model, examples in kept.items() if examples}
    if not kept:
        return Image.new("RGB", (1, 1), "white"), {"columns": [], "rows": []}
    drawn, columns, rows = importlib.import_module(f"patchwork.measures.{name}").picture(kept)
    return drawn, {"columns": columns, "rows": rows}


def joined(found):
    """Dicts of tensors, batch after batch, as one dict of numpy arrays."""
    found = list(found)
    return {name: torch.cat([some[name] for some in found]).cpu().numpy() for name in found[0]}
