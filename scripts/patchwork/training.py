"""Supervised training of a timm model on an image folder, cut into stages that can be run one by one."""

import hashlib
import logging
import pickle
import random
import time
from pathlib import Path

import numpy as np
import torch
from timm.data.loader import create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch.nn.functional import cross_entropy

from patchwork import folders, jobs, models, pixels

log = logging.getLogger(__name__)


def seed(name, epoch):
    """Start every generator from (run, epoch), so that an epoch does not depend on where a stage began."""
    digest = hashlib.blake2b(f"{name}\0{epoch}".encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "little")
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def save(path, checkpoint):
    """Write what train_stage returned."""
    torch.save(checkpoint, path)


def load(path):
    """A checkpoint as train_stage returned it; no code in the file is run.

    Raises ValueError naming the file if it is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is damaged: delete it and run again") from error


class ImageFolder(torch.utils.data.Dataset):
    """The images of a folder as pack_images would take and decode them, for timm's create_loader.

    `transform` is set by the loader. An image that cannot be read raises ValueError with its path, even
    where packing would leave it out: timm's own folder would train on another one in its place.
    """

    def __init__(self, folder, classes, images=None):
        numbers = {name: number for number, name in enumerate(classes)}
        self.rows = [(Path(folder, path), numbers[name]) for name, path in folders.listing(folder, images)]
        self.transform = None

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        path, label = self.rows[index]
        image = pixels.decode(path)
        return self.transform(image) if self.transform else image, label


def open_images(dataset, net, size, run, device, workers):
    """The shuffled batches of an image folder, normalised as `net` wants them."""
    augmentation = run.get("augmentation", {})
    loader = create_loader(
        dataset,
        input_size=(3, *size),
        batch_size=run["batch_images"],
        is_training=True,
        no_aug=not augmentation,
        mean=net.pretrained_cfg["mean"],
        std=net.pretrained_cfg["std"],
        num_workers=workers,
        pin_memory=device.type == "cuda",
        device=device,
        persistent_workers=False,  # new ones are seeded from the generator that `seed` started
        **augmentation,
    )
    if not len(loader):
        raise ValueError(
            f"there are {len(dataset)} images, fewer than one batch of batch_images: {run['batch_images']}"
        )
    return loader


def train_stage(
    entry,
    folder,
    name,
    run,
    last_epoch,
    *,
    classes=None,
    images=None,
    resume=None,
    device="cpu",
    dtype="float32",
    workers=0,
):
    """Train a model from the end of a checkpoint, or from nothing, to the end of epoch `last_epoch`.

    entry: the model, {timm, options, size}. folder: one folder of images per class. name: the run's.
    run: {epochs, batch_images, optimizer, learning_rate, weight_decay, warmup_epochs, augmentation}; the
    names of optimizers and the words in `augmentation` are those of timm's create_optimizer_v2 and
    create_loader; the learning rate rises for warmup_epochs and then falls along half a cosine.
    classes, images: as of pixels.pack. resume: what this function returned for the stage before, from the
    same run. dtype: of autocast.

    Returns {epoch, classes, metrics, model, optimizer, scheduler, scaler}: states, the class names in order
    of the outputs, and {epoch, loss, top1, learning_rate, images_per_second} of each epoch so far, as
    trained on: augmented. On a CPU a run cut into stages ends with the same bits as one that was not.
    Raises ValueError when the loss is no number any more.
    """
    device, dtype = torch.device(device), getattr(torch, dtype)
    seed(name, 0)
    classes = folders.class_order([label for label, _ in folders.listing(folder)], classes)
    net = models.create(entry, len(classes)).to(device)
    size = models.Model(net, entry.get("size") and (entry["size"], entry["size"])).size
    loader = open_images(ImageFolder(folder, classes, images), net, size, run, device, workers)
    optimizer = create_optimizer_v2(
        net, run["optimizer"], lr=run["learning_rate"], weight_decay=run["weight_decay"]
    )
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=run["epochs"],
        warmup_epochs=run["warmup_epochs"],
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    metrics = []
    if resume:
        if resume["classes"] != classes:
            raise ValueError(f"run {name} began with classes {resume['classes']}, {folder} has {classes}")
        net.load_state_dict(resume["model"])
        optimizer.load_state_dict(resume["optimizer"])
        scheduler.load_state_dict(resume["scheduler"])
        scaler.load_state_dict(resume["scaler"])
        metrics = list(resume["metrics"])
    for epoch in range(len(metrics) + 1, last_epoch + 1):
        seed(name, epoch)
        row = train_epoch(net, loader, optimizer, scheduler, scaler, dtype, name, epoch)
        metrics.append(row)
        log.info(
            f"{name} epoch {epoch} of {run['epochs']}: loss {row['loss']:.4f}, top-1 {row['top1']:.1%}, "
            f"learning rate {row['learning_rate']:.2g}, {row['images_per_second']:.0f} images/s"
        )
    return {
        "epoch": last_epoch,
        "classes": classes,
        "metrics": metrics,
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "scaler": scaler.state_dict(),
    }


def train_epoch(net, loader, optimizer, scheduler, scaler, dtype, name, epoch):
    """One pass over the images; its metrics."""
    net.train()
    seen, losses, hits, start = 0, 0.0, 0, time.monotonic()
    updates = (epoch - 1) * len(loader)
    total = len(loader) * loader.loader.batch_size
    with jobs.progress(total=total, desc=f"{name} epoch {epoch}", unit="image") as bar:
        for step, (batch, labels) in enumerate(loader, 1):
            with torch.autocast(batch.device.type, dtype, enabled=dtype is not torch.float32):
                logits = net(batch)
                loss = cross_entropy(logits, labels)
            value = loss.item()
            if not np.isfinite(value):
                raise ValueError(
                    f"the loss of run {name} is {value} in epoch {epoch}, step {step} of {len(loader)}: "
                    "try a lower learning_rate or more warmup_epochs"
                )
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step_update(updates + step)
            seen += len(labels)
            losses += value * len(labels)
            hits += (logits.argmax(1) == labels).sum().item()
            bar.update(len(labels))
            bar.set_postfix(loss=f"{losses / seen:.3f}", refresh=False)
    return {
        "epoch": epoch,
        "loss": losses / seen,
        "top1": hits / seen,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "images_per_second": seen / (time.monotonic() - start),
    }
