"""Made-up decisions, trainings and measures, for tests of marts, figures and claims."""

import json
import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from conftest import COLUMNS, LISTS, ROOT, SQL
from patchwork import building, models, tables, warehouse

CLASSES = ["circle", "ring", "square", "star"]
IMAGES = 400


def cues(images):
    """The labels of images and what their textures stand for: never the same."""
    labels = np.arange(images) % len(CLASSES)
    return labels, (labels + 1 + np.arange(images) // len(CLASSES) % 3) % len(CLASSES)


def decide(shape, texture, images=IMAGES):
    """Predictions of which so many are the shape, so many the texture, and the rest neither."""
    labels, textures = cues(images)
    other = np.array(
        [min({*range(len(CLASSES))} - {a, b}) for a, b in zip(labels, textures, strict=True)], np.int64
    )
    return np.select(
        [np.arange(images) < shape, np.arange(images) < shape + texture], [labels, textures], other
    )


def conflict(images=IMAGES):
    """(label, class_name, texture_class) of such a dataset."""
    labels, textures = cues(images)
    names = np.array(CLASSES)
    return labels, names[labels], names[textures]


class Results:
    """Warehouses of made-up decisions, in a folder like results/."""

    def __init__(self, folder):
        self.folder, self.indexes, self.predictions, self.asked = Path(folder), {}, {}, []

    def dataset(self, name, labels, class_names, texture_classes=None):
        """An index; the texture of an image may be unknown (None)."""
        columns = {"image": np.arange(len(labels), dtype=np.int32), "label": np.asarray(labels, np.int16)}
        columns |= {"class_name": list(class_names), "path": [f"{i}.png" for i in range(len(labels))]}
        columns |= {"problem": pa.nulls(len(labels), pa.string())}
        if texture_classes is not None:
            columns |= {"texture_class": pa.array(list(texture_classes), pa.string())}
        self.indexes[name] = self.folder / f"images/{name}.parquet"
        self.indexes[name].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), self.indexes[name])
        self.labels = {**getattr(self, "labels", {}), name: np.asarray(labels)}

    def strip(
        self, dataset, model, pred, perturbation="clean", after=(), variant="plain", family="net", **more
    ):
        """A strip with these predictions at its clean level, the one `whole` in `more` (else 0), and `after`,
        {level: predictions of each seed}, at the others, where tokens are `cut`."""
        labels, whole, after = self.labels[dataset], more.get("whole", 0), dict(after)
        path = self.folder / f"predictions/{dataset}/{model}/{perturbation}/{variant}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        asked, cells = [], []
        for level, preds in {whole: [pred], **after}.items():
            cut = 0 if level == whole else more.get("cut", 0)
            for seed, seen in enumerate(preds):
                right = seen == labels
                columns = {"image": np.arange(len(labels)), "label": labels, "pred": seen}
                columns |= {"rank": np.where(right, 0, 1), "prob": np.where(right, 0.7, 0.1)}
                columns |= {"confidence": np.full(len(labels), 0.7), "lost": np.zeros(len(labels))}
                columns |= {"tokens_lost": np.zeros(len(labels)), "tokens_cut": np.full(len(labels), cut)}
                cells.append(tables.predictions(level, seed, columns))
                asked.append([level, seed])
        tables.write(path, cells[::-1], {})  # which level is the clean one is told, not seen by its place
        self.predictions[path] = None
        strip = {"dataset": dataset, "model": model, "perturbation": perturbation, "variant": variant}
        self.asked.append(strip | {"family": perturbation, "model_family": family, "cells": asked})

    def tell_classes(self, dataset, classes):
        """Write what the models of a dataset tell apart into its index, as pack_images does."""
        index = self.indexes[dataset]
        told = {"classes": json.dumps([*classes])}
        pq.write_table(pq.read_table(index).replace_schema_metadata(told), index)

    def weights(self, patch_pixels):
        """The file of a network with patches of this size; None: without."""
        path = self.folder / f"weights/{patch_pixels}.safetensors"
        path.parent.mkdir(exist_ok=True)
        side = patch_pixels or 1
        name = "patch_embed.proj.weight" if patch_pixels else "conv.weight"
        models.save(path, {name: torch.zeros(1, 3, side, side)})
        return path

    def build(self, trainings=(), stylized=(), epochs=(), foregrounds=(), networks=(), **more):
        path = self.folder / "warehouse.duckdb"
        given = {
            "predictions": [*self.predictions],
            "indexes": [*self.indexes.values()],
            "foregrounds": foregrounds,
        }
        given |= LISTS
        given |= {"trainings": epochs}
        told = {"asked": self.asked, "reference": self.asked[0]["model"], "columns": COLUMNS}
        told |= {"trainings": trainings, "stylized": stylized, **more}
        told |= {"models": [each | {"file": self.weights(each["patch_pixels"])} for each in networks]}
        building.build(path, given, told, *SQL, threads=1, memory_mb=500)
        return path


def training(model, data, run=None, settings="s", architecture="a", head=None, teacher=None):
    told = {"model": model, "run": run or model, "recipe": "embedded", "data": data, "head": head}
    return told | {"architecture": architecture, "settings": settings, "teacher": teacher}


def measured(results, dataset, model, measure, columns, family="net", kinds=None):
    """What a config asks for, with a file of the columns; those that are not given are null."""
    length = len(next(iter(columns.values())))
    kinds = kinds or {name: pa.type_for_alias(kind) for name, kind in COLUMNS[measure].items()}
    arrays = [pa.array(columns.get(name, [None] * length), kind) for name, kind in kinds.items()]
    file = results.folder / f"measures/{dataset}/{model}/{measure}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, pa.schema(kinds)), file)
    return {"dataset": dataset, "model": model, "measure": measure, "model_family": family, "file": file}


def right(count, images=200):
    """Decisions of which the first `count` are right."""
    return np.arange(images) < count


def readout(blocks, patch, correct, protocol="validated", block=None, width=64, classes=10, last_top1=None):
    told = {"protocol": protocol, "blocks": blocks, "block": block, "patch": patch, "width": width}
    told |= {"parameters": (width + 1) * classes, "classes": classes, "correct": correct.tolist()}
    told |= {"top1": correct.mean(), "last_top1": last_top1, "images": len(correct), "train_images": 1000}
    return told


def learnt(results, dataset, model, measure, rows, schema, family="net"):
    """What a config asks for, with a file of what was learnt from frozen features."""
    file = results.folder / f"readouts/{dataset}/{model}/{measure}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return {"dataset": dataset, "model": model, "measure": measure, "model_family": family, "file": file}


def probed(results, transfer, model, readouts, family="net"):
    return learnt(results, transfer, model, "probe", readouts, tables.PROBES, family)


def network(model, timm="tiny", architecture="a", **more):
    told = {"model": model, "timm": timm, "architecture": architecture, "patch_pixels": 8, "positions": True}
    return told | {"untrained": False} | more


def rows(path, sql):
    return warehouse.query(path, sql).to_pylist()


def student(name, teacher, run=None):
    return [
        training(f"{name}_{head}", "train", name, head=head, teacher=teacher) for head in ("class", "shape")
    ]


def figure(path, name):
    """The rows of a figure."""
    return rows(path, runpy.run_path(ROOT / f"reports/figures/{name}.py")["SQL"])


STYLIZED = [
    {"dataset": "sin_train", "content": "train", "stylizer": "adain"},
    {"dataset": "sin_conflict", "content": "conflict", "stylizer": "adain"},
    {"dataset": "sin", "content": "held_out", "stylizer": "adain"},
]
