"""Linear classifiers on frozen features: what the tokens of a network tell of classes it was not trained on.

Source: "Off-the-shelf tokens" in section 3 of the paper, figures 14 and 16 and table 5: a linear layer on the
class token of the last block, of the last four or of all, with or without mean patch tokens. Its text takes
patch tokens of the various blocks, its code those of the last block alone; here are both. Three protocols:

`validated`: multinomial logistic regression on standardised features, that is the minimum of

    mean cross-entropy + penalty / 2 * sum of squared weights (not of the biases),

by L-BFGS, the penalty chosen by top-1 on validation images. The last fit is on these, too, with the same
statistics, and test images are looked at once. It is what scikit-learn's LogisticRegression finds with
C = 1 / (penalty * images).

`authors`: as their code does it (classify_metadataset.py, utils.py). AdamW at a constant learning rate, ten
epochs, on raw features of all images that are not for testing, without the last incomplete batch of an epoch.
The epoch of the best test accuracy counts; the last one tells what choosing on test images gains.

`authors, batch statistics`: their code never calls eval(), so batch normalisation in its ResNet works by the
statistics of each batch: those of shuffled images in training, and in testing those of images in the order of
their folders, which are of few classes at a time. Here each image is passed once, there once in every epoch.
"""

import copy
import logging
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from timm.optim import create_optimizer_v2
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from patchwork import files, jobs, loader, models, readouts, splits, tables
from patchwork.packed import Packed
from patchwork.tokens import Tokens

# From strong to weak, each fit starting from the one before; of equally good ones the stronger is chosen.
PENALTIES = [1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5]
# The largest derivative that counts as 0; scikit-learn's 1e-4 ends far from the minimum of weak penalties. A
# fit also ends where a step changes the objective by less than 1e-9, torch's own tolerance. float32 is there
# in as many steps as float64 and in half of the time, if losses are summed in float64.
TOLERANCE = 3e-6
MOST_PASSES = 300  # over all images, for one penalty; features that all but repeat each other need more
HISTORY = 10  # steps that L-BFGS remembers, as in scipy: each is as large as all weights
BATCH_IMAGES = 4096  # whose logits are in memory at a time
KEPT_BYTES = 1 << 30  # larger features are not kept in memory but read anew in every step

# Of the authors: classify_md.sh and the defaults of classify_metadataset.py.
EPOCHS, TRAINED_IMAGES, LEARNING_RATE, WEIGHT_DECAY = 10, 256, 5e-4, 0.05


@dataclass(frozen=True)
class Part:
    """Images of a transfer to learn from, to choose by, or to test: `rows` (int64 [N], ascending) of a packed
    dataset and of its tokens, and their `labels` (int64 [N])."""

    tokens: Tokens
    data: Packed
    rows: np.ndarray
    labels: torch.Tensor

    def __len__(self):
        return len(self.rows)

    def features(self, chosen, places):
        """Features of some of the images, of parts of the tokens side by side: float32 [n, width].

        chosen: of `rows`, as numpy takes them. Raises ValueError naming the images that have NaN or infinity.
        """
        rows = self.rows[chosen]
        values = torch.from_numpy(self.tokens.features(places, rows))
        strange = rows[~values.isfinite().all(1).numpy()]
        if len(strange):
            named = ", ".join(self.data.paths[row] for row in strange[:4])
            more = f" and {len(strange) - 4} more" if len(strange) > 4 else ""
            raise ValueError(f"features of {named}{more} are NaN or infinite")
        return values

    def pixels(self, chosen):
        """Some of the images: float32 [n, 3, H, W] in [0, 1]."""
        images = np.load(self.data.array_path, mmap_mode="r", allow_pickle=False)[self.rows[chosen]]
        return torch.from_numpy(images).float().div_(255)


def divide(sets, transfer, shares):
    """The Parts of a transfer, {"train", "validation", "test"}, and the names of its classes in their order.

    sets: (Tokens, Packed) by what the transfer names them by: train, test and validation, or data. shares:
    the parts that are not datasets of their own, {part: share of the images of train, or data}. Raises
    ValueError naming a class that is not in all parts.
    """
    whole = "data" if "data" in sets else "train"
    named = {part: np.array(data.classes)[data.labels] for part, (_, data) in sets.items()}
    rows = splits.split(sets[whole][1].paths, named[whole], transfer, shares)
    chosen = {part: (whole, rows[part]) for part in rows}
    chosen |= {part: (part, np.arange(len(named[part]))) for part in sets if part != whole}
    classes = np.unique(named[whole])
    for part, (origin, _) in chosen.items():
        if differ := set(named[origin]) ^ set(classes):
            there, lacks = ("train", part) if min(differ) in classes else (part, "train")
            raise ValueError(
                f"transfer {transfer}: class {str(min(differ))!r} has images in {there} and none in {lacks}; "
                "all parts must have the same classes"
            )
    if len(classes) < 2:
        raise ValueError(f"transfer {transfer} has one class, {classes[0]}: there is nothing to tell apart")
    labels = {part: torch.from_numpy(np.searchsorted(classes, named[part])) for part in sets}
    parts = {
        part: Part(*sets[origin], rows, labels[origin][torch.from_numpy(rows)])
        for part, (origin, rows) in chosen.items()
    }
    return parts, classes.tolist()


def scaling(part, places, device):
    """The mean and the reciprocal of the standard deviation of all features over a Part, float32 [width] each
    and by place. Of a feature that is the same everywhere the latter is 0, so that it stays 0."""
    widths = [part.tokens.parts[place]["width"] for place in places]
    total, squares = torch.zeros(2, sum(widths), dtype=torch.float64, device=device)
    differs, first_row = torch.zeros(sum(widths), dtype=torch.bool, device=device), None
    for first in range(0, len(part), BATCH_IMAGES):
        features = part.features(slice(first, first + BATCH_IMAGES), places).to(device)
        first_row = features[0] if first_row is None else first_row
        differs |= (features != first_row).any(0)
        total += features.sum(0, dtype=torch.float64)
        squares += features.double().square().sum(0)
    mean = total / len(part)
    # Squares of float16 are exact in float64, so that the difference is not lost.
    deviation = (squares / len(part) - mean.square()).clamp(min=0).sqrt()
    reciprocal = (1 / deviation).where(differs, torch.zeros_like(deviation))
    pairs = zip(mean.float().split(widths), reciprocal.float().split(widths), strict=True)
    return dict(zip(places, pairs, strict=True))


class Batches:
    """The features of a readout of a Part and its labels, batch after batch on a device: (float32 [n, width],
    int64 [n]), as often as asked for.

    scales: of Tokens.parts by place, as of `scaling`; None for raw features.
    """

    def __init__(self, part, places, device, scales=None):
        self.part, self.places, self.device = part, places, device
        self.width = sum(part.tokens.parts[place]["width"] for place in places)
        self.scale = scales and [torch.cat(each) for each in zip(*map(scales.get, places), strict=True)]
        kept = len(part) * self.width * 4 <= KEPT_BYTES
        self.kept = [*self.read()] if kept else None

    def __len__(self):
        return len(self.part)

    def __iter__(self):
        return self.read() if self.kept is None else iter(self.kept)

    def read(self):
        for first in range(0, len(self.part), BATCH_IMAGES):
            some = slice(first, first + BATCH_IMAGES)
            features = self.part.features(some, self.places).to(self.device)
            if self.scale:
                features.sub_(self.scale[0]).mul_(self.scale[1])
            yield features, self.part.labels[some].to(self.device)


def fit(sources, penalty, start):
    """The minimum of the objective above on the images of all `sources` (Batches): weight (float32 [width,
    classes]) and bias ([classes]).

    start: a weight and a bias to begin with. A minimum that is not reached is told in the log.
    """
    images, (weight, bias) = sum(map(len, sources)), (each.clone().requires_grad_() for each in start)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=MOST_PASSES,
        max_eval=MOST_PASSES,
        tolerance_grad=TOLERANCE,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
    )

    def objective():
        optimizer.zero_grad()
        total = penalty / 2 * weight.double().square().sum()
        total.backward()
        for features, labels in chain.from_iterable(sources):
            losses = cross_entropy(torch.addmm(bias, features, weight), labels, reduction="none")
            loss = losses.double().sum() / images
            loss.backward()
            total = total.detach() + loss.detach()
        return total

    optimizer.step(objective)
    if optimizer.state[weight]["func_evals"] >= MOST_PASSES:
        logging.warning("penalty %g: not at the minimum after %d passes", penalty, MOST_PASSES)
    return weight.detach(), bias.detach()


@torch.inference_mode()
def correct(batches, weight, bias):
    """Whether each image is decided rightly: bool [N], on the CPU."""
    decided = [torch.addmm(bias, features, weight).argmax(1) == labels for features, labels in batches]
    return torch.cat(decided).cpu()


def top1(correct):
    return correct.double().mean().item()


def validated(parts, places, scales, classes, device):
    """What the validated protocol finds with a readout. parts: as of `divide`. classes: how many."""
    train, validation = (Batches(parts[part], places, device, scales) for part in ("train", "validation"))
    start = torch.zeros(train.width, classes, device=device), torch.zeros(classes, device=device)
    reached, fitted = {}, {}
    for penalty in PENALTIES:
        fitted[penalty] = start = fit([train], penalty, start)
        reached[penalty] = top1(correct(validation, *start))
    penalty = max(PENALTIES, key=reached.__getitem__)
    layer = fit([train, validation], penalty, fitted[penalty])
    return {
        "penalty": penalty,
        "validation_top1": reached[penalty],
        "train_images": len(train) + len(validation),
        "correct": correct(Batches(parts["test"], places, device, scales), *layer),
    }


def as_authors(features, labels, test, width, classes, transfer, device):
    """What the authors' protocol finds.

    features: gives those of rows (numpy) of the training images, float32 [n, width]; their labels are int64
    [N]. test: (features, labels), batch after batch. What is random hangs on the name of the transfer.
    """
    loader.seed(transfer, "authors")
    layer = nn.Linear(width, classes).to(device)
    optimizer = create_optimizer_v2(layer, "adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    at_once, epochs = min(TRAINED_IMAGES, len(labels)), []
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(at_once):
            if len(rows) == at_once:
                logits = layer(features(rows.numpy()).to(device))
                optimizer.zero_grad()
                cross_entropy(logits, labels[rows].to(device)).backward()
                optimizer.step()
        epochs.append(correct(test, layer.weight.T, layer.bias))
    return {
        "last_top1": top1(epochs[-1]),
        "train_images": len(labels),
        "correct": max(epochs, key=top1),
    }


def gathered(learning, read, rows):
    """What `read(part, chosen)` gives of `rows` (numpy) of Parts one after another, in their order."""
    found, places, first = [], [], 0
    for part in learning:
        inside = np.flatnonzero((rows >= first) & (rows < first + len(part)))
        found.append(read(part, rows[inside] - first))
        places.append(inside)
        first += len(part)
    return torch.cat(found)[torch.from_numpy(np.concatenate(places)).argsort()]


def normalises_batches(model):
    return any(isinstance(layer, _BatchNorm) for layer in model.modules())


def by_batch(model):
    """A copy of a model whose batch normalisation works by the statistics of each batch and keeps none."""
    other = copy.deepcopy(model)
    for layer in other.modules():
        if isinstance(layer, _BatchNorm):
            layer.train()
            layer.track_running_stats = False
    return other


@torch.inference_mode()
def features_by_batch(model, learning, rows, compute):
    """What the head of a model sees of `rows` (a list of numpy arrays, one per batch) of Parts one after
    another: float32 [N, width]. A batch is not halved when memory ends, as it decides the features of all.
    Raises ValueError naming an image of a batch in which they are NaN or infinite."""
    device, dtype, model, found = model.mean.device, getattr(torch, compute["dtype"]), by_batch(model), []
    paths = [part.data.paths[row] for part in learning for row in part.rows]
    for some in jobs.progress(rows, unit="batch", desc="batch statistics"):
        pixels = gathered(learning, Part.pixels, some).to(device)
        with models.autocast(device, dtype):
            features = model.features(pixels).float()
        if not features.isfinite().all():
            raise ValueError(
                f"{model.origin['timm']} gives NaN or infinite features by the statistics of the "
                f"{len(some)} images of which {paths[some[0]]} is the first, computing in {dtype}"
            )
        found.append(features)
    return torch.cat(found)


def by_batch_statistics(model, parts, classes, transfer, compute):
    """What the authors' protocol finds in a network with batch normalisation, as they ran it."""
    learning, test = [parts["train"], parts["validation"]], parts["test"]
    labels = torch.cat([part.labels for part in learning])
    at_once = min(TRAINED_IMAGES, len(labels))
    loader.seed(transfer, "batches")
    shuffled = [rows for rows in torch.randperm(len(labels)).split(at_once) if len(rows) == at_once]
    trained = features_by_batch(model, learning, [rows.numpy() for rows in shuffled], compute)
    # A single image that is left over joins the batch before it: it has no statistics of its own.
    starts = range(TRAINED_IMAGES, len(test) - 1, TRAINED_IMAGES)
    tested = features_by_batch(model, [test], np.array_split(np.arange(len(test)), starts), compute)
    batches = [(tested, test.labels.to(tested.device))]
    learnt = labels[torch.cat(shuffled)]
    width = tested.shape[1]
    told = as_authors(trained.__getitem__, learnt, batches, width, classes, transfer, tested.device)
    return {"width": width, "classes": classes, **told}


def results(model, sets, transfer, shares, compute):
    """What all protocols find, one after another: dicts of protocol, blocks, block, patch, width,
    classes and what the protocol tells."""
    parts, classes = divide(sets, transfer, shares)
    learning, count, device = [parts["train"], parts["validation"]], len(classes), model.mean.device
    tokens, labels = parts["train"].tokens, torch.cat([part.labels for part in learning])
    listed = readouts.of_probes(tokens)
    scales = scaling(parts["train"], sorted({place for _, places in listed for place in places}), device)
    for readout, places in jobs.progress(listed, unit="readout", desc=transfer):
        width = sum(tokens.parts[place]["width"] for place in places)
        shape = {"width": width, "classes": count}
        told = validated(parts, places, scales, count, device)
        logging.info("%s: penalty %g, top-1 %.4f", readout, told["penalty"], top1(told["correct"]))
        yield {"protocol": "validated", **readout, **shape, **told}
        if readout["blocks"] != "block" and readout["patch"] != "each":  # those of the paper's table 5
            features = partial(gathered, learning, partial(Part.features, places=places))
            test = Batches(parts["test"], places, device)
            told = as_authors(features, labels, test, width, count, transfer, device)
            yield {"protocol": "authors", **readout, **shape, **told}
    if normalises_batches(model):
        readout, _ = listed[0]  # what the head sees
        told = by_batch_statistics(model, parts, count, transfer, compute)
        yield {"protocol": "authors, batch statistics", **readout, **told}


def probe(model, sets, transfer, shares, compute, path):
    """Write what linear classifiers find in the tokens of a model: a table of tables.PROBES.

    model: models.Model in its place. sets, shares: as of `divide`. transfer: its name. compute: the config's.
    Where the model has no tokens the table is empty and its metadata tell why.
    """
    reason = next((tokens.refused for tokens, _ in sets.values() if tokens.refused), None)
    if reason:
        logging.info("left out: %s", reason)
    found = [] if reason else [*results(model, sets, transfer, shares, compute)]
    for row in found:
        decided = row["correct"]
        row |= {"top1": top1(decided), "images": len(decided), "correct": decided.tolist()}
        row["parameters"] = (row["width"] + 1) * row["classes"]
    schema = tables.PROBES.with_metadata({"refused": reason or ""})
    with files.whole(path) as temporary:
        pq.write_table(pa.Table.from_pylist(found, schema=schema), temporary, compression="zstd")
