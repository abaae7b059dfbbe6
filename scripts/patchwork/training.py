"""Training of a timm model on an image folder, in stages that can be stopped anywhere and run one by one."""

import logging
import os
import resource
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
import torch.distributed as dist
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import dispatch_clip_grad, unwrap_model

from patchwork import checkpoints, dino, folders, jobs, loader, models, packed, tasks

log = logging.getLogger(__name__)

EVALUATED_IMAGES = 256  # of the held-out ones, at a time


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def processes():
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def joined_processes(compute):
    """Join the processes that torchrun has started, if it has, to train together until the end of the
    block."""
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    device = models.device(compute)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


def summed(*numbers, device):
    """Numbers added over all processes."""
    total = torch.tensor(numbers, dtype=torch.float64, device=device)
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.tolist()


class Training:
    """A run: a network on its way from nothing, or from a checkpoint, to the end of its epochs.

    entry: the model, {timm, options, size}. folder: one folder of images per class. name: the run's.
    recipe: its resolved entry, see rules/config.schema.yaml. classes, images: as of pixels.pack. origin: a
    digest of all that decides the training; a checkpoint of another is refused. held_out: packed images
    (packed.Packed) on which every epoch is scored. teacher: builds a models.Model of given class names.
    initial: the weights to start from, (state dict, its file). compute: {device, dtype, channels_last,
    training_images}; the last is how many images a process passes at once: a larger batch is accumulated.
    workers: processes that load images.

    Where torch.distributed is set up, every process holds the same parameters and takes its share of each
    batch. Raises ValueError naming what is wrong.
    """

    def __init__(
        self,
        entry,
        folder,
        name,
        recipe,
        *,
        compute,
        classes=None,
        images=None,
        listed=None,
        origin="",
        held_out=None,
        teacher=None,
        initial=None,
        workers=0,
    ):
        self.name, self.recipe, self.origin, self.held_out = name, recipe, origin, held_out
        self.dtype, self.device = getattr(torch, compute["dtype"]), models.device(compute)
        self.at_once = compute.get("training_images")
        everything = folders.listing(folder, listed=listed)
        self.classes = folders.class_order([label for label, _ in everything], classes)
        if held_out and held_out.classes != self.classes:
            raise ValueError(
                f"run {name} learns the classes {', '.join(self.classes[:4])}, ..., its held-out images have "
                f"{', '.join(held_out.classes[:4])}, ...: choose a dataset of the same classes"
            )
        if recipe["batch_images"] % processes():
            raise ValueError(
                f"{processes()} processes cannot share batch_images of run {name}: {recipe['batch_images']}"
            )
        if recipe.get("mixup") and recipe["batch_images"] // processes() % 2:
            raise ValueError(
                f"images of run {name} are mixed in pairs: give it an even number of batch_images"
            )
        self.labelled = "dino" not in recipe
        loader.seed(name, "weights")
        entry = entry | {"options": entry.get("options", {}) | drop_path(recipe)}
        self.net = models.create(entry, len(self.classes)) if self.labelled else dino.backbone(entry)
        if initial:
            begin_from(self.net, *initial)
        self.model = models.Model(self.net, entry.get("size") and (entry["size"], entry["size"]))
        models.place(self.model, compute)
        rows = folders.thinned(everything, images)
        self.order = loader.Order(
            name, len(rows), recipe["batch_images"], recipe.get("repeats", 1), rank(), processes()
        )
        self.steps = self.order.steps  # of an epoch
        if not self.steps:
            raise ValueError(
                f"run {name} has {len(rows)} images, fewer than its batch_images: {recipe['batch_images']}"
            )
        if self.labelled:
            teacher = teacher and models.place(teacher(self.classes), compute)
            self.task = tasks.task(self.net, recipe, name, teacher)
            transform, fixed = loader.transform(self.model.size, recipe), recipe.get("augmentation") is None
            statistics = self.net.pretrained_cfg["mean"], self.net.pretrained_cfg["std"]
        else:
            self.task = dino.DinoTask(self.net, recipe["dino"], self.model.size, recipe["epochs"], self.steps)
            transform, fixed, statistics = self.task.views, False, None
        self.task.to(self.device)
        opened = loader.Images(name, folder, rows, self.classes, transform, fixed)
        self.batches = loader.load(opened, self.order, self.device, workers, statistics)
        self.disturb = tasks.Disturbance(recipe, len(self.classes), self.device)
        self.optimizer = create_optimizer_v2(
            self.task.get_trainable_module(),
            recipe["optimizer"],
            lr=recipe["learning_rate"],
            weight_decay=recipe["weight_decay"],
            layer_decay=recipe.get("layer_decay"),
        )
        self.scheduler, _ = create_scheduler_v2(
            self.optimizer,
            num_epochs=recipe["epochs"],
            warmup_epochs=recipe["warmup_epochs"],
            step_on_epochs=False,
            updates_per_epoch=self.steps,
            **recipe.get("schedule", {}),
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        if "ema_decay" in recipe:
            self.task.setup_ema(decay=recipe["ema_decay"], use_warmup=True)
        self.metrics, self.epoch, self.step = [], 1, 0
        self.sums = {"images": 0.0, "loss": 0.0, "hits": 0.0, "seconds": 0.0}  # of the epoch so far
        if dist.is_initialized():
            on_gpu = self.device.type == "cuda"
            self.task.prepare_distributed(device_ids=[self.device.index] if on_gpu else None)

    def checkpoint(self):
        """All that the training needs to go on as if it had not stopped; its random numbers follow from
        `step`."""
        return {
            "origin": self.origin,
            "classes": self.classes if self.labelled else None,
            "statistics": {
                "mean": list(self.net.pretrained_cfg["mean"]),
                "std": list(self.net.pretrained_cfg["std"]),
                "input_size": list(self.model.size),
                "processes": processes(),
            },
            "metrics": self.metrics,
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.sums,
            "task": self.state(),
            "ema": self.state(ema=True),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def state(self, ema=False):
        """{"weights": those that are evaluated, "more": what else the task keeps}; nothing without an
        average."""
        return dict(zip(("weights", "more"), self.task.get_checkpoint_state(ema=ema).values(), strict=False))

    def resume(self, checkpoint):
        """Go on from a checkpoint, as `checkpoint` returned it."""
        for kind in ("task", "ema"):
            state = checkpoint[kind]
            if state:
                self.task.load_checkpoint_state(*state.values(), ema=kind == "ema")
        for part in ("optimizer", "scheduler", "scaler"):
            getattr(self, part).load_state_dict(checkpoint[part])
        for part in ("metrics", "epoch", "step", "sums"):
            setattr(self, part, checkpoint[part])

    def run(self, last_epoch, keeper=None):
        """Train to the end of epoch `last_epoch`.

        keeper: checkpoints.Keeper, offered a checkpoint after every step by the first process.
        Raises ValueError when the loss is no number any more.
        """
        batch = self.recipe["batch_images"]
        total, done = (steps * batch for steps in (last_epoch * self.steps, self.steps_done()))
        with jobs.progress(total=total, initial=done, desc=self.name, unit="image") as bar:
            while self.epoch <= last_epoch:
                self.train_epoch(keeper if rank() == 0 else None, bar)
                row = self.finish_epoch()
                if rank() > 0:
                    continue
                held_out = f", held-out {row['held_out_top1']:.1%}" if self.held_out else ""
                left = (total - self.steps_done() * batch) / row["images_per_second"]
                log.info(
                    f"{self.name} epoch {row['epoch']} of {self.recipe['epochs']}: "
                    f"loss {row['loss']:.4f}{held_out}, learning rate {row['learning_rate']:.2g}, "
                    f"{row['images_per_second']:.0f} images/s, {left:.0f} s left"
                )

    def steps_done(self):
        """Steps of the optimizer since the beginning."""
        return (self.epoch - 1) * self.steps + self.step

    def train_epoch(self, keeper, bar):
        """The steps of the epoch that are left."""
        self.task.train()
        self.order.begin(self.epoch, self.step)
        batch, start = self.recipe["batch_images"], time.monotonic()
        for images, labels in self.batches:
            loader.seed(self.name, self.epoch, self.step, "step", rank())
            images, targets = self.disturbed(images, labels)
            loss, hits = self.update(images, targets, labels)
            self.step += 1
            self.scheduler.step_update(self.steps_done())
            self.sums["images"] += batch
            self.sums["loss"] += loss
            self.sums["hits"] += hits
            self.sums["seconds"] += time.monotonic() - start
            start = time.monotonic()
            bar.update(batch)
            bar.set_postfix(epoch=self.epoch, loss=f"{loss / batch:.3f}", refresh=False)
            if keeper:
                keeper.offer(self.checkpoint)

    def disturbed(self, images, labels):
        """A batch as the task takes it: (images, or views of them; targets)."""
        if not self.labelled:
            return images, labels
        images, targets = self.disturb(images, labels)
        return images.contiguous(memory_format=self.model.layout), targets

    def update(self, images, targets, labels):
        """One step of the optimizer; the sums of loss and of right answers over the whole batch."""
        self.optimizer.zero_grad()
        total, hits = 0.0, 0.0
        at_once = self.at_once or len(labels)
        for first in range(0, len(labels), at_once):
            part = slice(first, first + at_once)
            several = isinstance(images, list)
            some = [view[part] for view in images] if several else images[part]
            more_to_come = first + at_once < len(labels)
            with self.task.no_sync() if more_to_come else nullcontext():
                with models.autocast(self.device, self.dtype):
                    result = self.task(some, targets[part])
                share = len(labels[part]) / len(labels)
                self.scaler.scale(result["loss"] * share).backward()
            total += result["loss"].item() * len(labels[part])
            if self.labelled:
                hits += (result["output"].argmax(1) == labels[part]).sum().item()
        if not np.isfinite(total):
            raise ValueError(
                f"the loss of run {self.name} is {total} in epoch {self.epoch}, "
                f"step {self.step + 1} of {self.steps}: try a lower learning_rate or more "
                "warmup_epochs; what was saved before is kept"
            )
        done = self.steps_done()
        if not self.labelled:
            self.task.before_step()
        if clip := self.recipe.get("clip_gradient"):
            self.scaler.unscale_(self.optimizer)
            dispatch_clip_grad(self.task.get_clip_parameters(), clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.task.update_ema(step=done + 1)
        return summed(total, hits, device=self.device)

    def finish_epoch(self):
        """Score the epoch, write its row of metrics, and go to the next."""
        held_out = self.score(self.held_out) if self.held_out else {}
        sums = self.sums
        row = {
            "epoch": self.epoch,
            "loss": sums["loss"] / sums["images"],
            "top1": sums["hits"] / sums["images"] if self.labelled else None,
            "held_out_top1": held_out.get("class"),
            "held_out_shape_top1": held_out.get("shape"),
            "held_out_images": held_out.get("images"),
            "learning_rate": max(group["lr"] for group in self.optimizer.param_groups),
            "images_per_second": sums["images"] / sums["seconds"],
            "memory_mb": peak_memory_mb(self.device),
            "seconds": sums["seconds"],
        }
        self.metrics.append(row)
        self.epoch, self.step, self.sums = self.epoch + 1, 0, dict.fromkeys(sums, 0.0)
        return row

    @torch.inference_mode()
    def score(self, held_out):
        """{"images": how many, "class": top-1, "shape": top-1 of a distillation token} on packed images."""
        net = unwrap_model(self.task.get_eval_model(ema=self.task.has_ema()))
        distilled, training = hasattr(net, "head_dist"), net.training
        net.eval()
        hits = {"class": 0.0} | ({"shape": 0.0} if distilled else {})
        total = len(held_out.labels)
        for first in range(rank() * EVALUATED_IMAGES, total, processes() * EVALUATED_IMAGES):
            last = min(first + EVALUATED_IMAGES, total)
            labels = torch.from_numpy(held_out.labels[first:last]).to(self.device)
            with models.autocast(self.device, self.dtype):
                prepared = self.model.prepare(packed.pixels(held_out, first, last, self.device))
                logits = models.heads(net, prepared) if distilled else {"class": net(prepared)}
            for head in hits:
                hits[head] += (logits[head].argmax(1) == labels).sum().item()
        net.train(training)
        found = summed(*hits.values(), device=self.device)
        return {"images": total} | {head: hit / total for head, hit in zip(hits, found, strict=True)}


def train_stage(output, last_epoch, origin, store, resume, threads, *arguments, **settings):
    """Train to the end of epoch `last_epoch` and save the checkpoint at `output`; the first process does.

    store: a file to keep checkpoints in on the way, and to go on from if a job that was killed has left one.
    resume: else the checkpoint of the stage before, None for the first. threads: of all processes together;
    on a GPU all but one load images, on a CPU all compute. arguments, settings: of Training.
    """
    with joined_processes(settings["compute"]):
        on_gpu = models.device(settings["compute"]).type == "cuda"
        workers = max(0, threads // processes() - 1) if on_gpu else 0
        training = Training(*arguments, origin=origin, workers=workers, **settings)
        keeper = checkpoints.Keeper(store)
        checkpoint = keeper.found(origin) or (checkpoints.load(resume, origin) if resume else None)
        if checkpoint:
            training.resume(checkpoint)
        training.run(last_epoch, keeper)
        if rank() == 0:
            checkpoints.save(output, training.checkpoint())
            keeper.done()


def drop_path(recipe):
    """The option of timm's networks for the recipe's `drop_path`, if it has any."""
    return {"drop_path_rate": recipe["drop_path"]} if recipe.get("drop_path") else {}


def begin_from(net, state, file):
    """Load weights whole into a network, but for a classifier of another number of classes, which stays
    new."""
    classifier = net.pretrained_cfg["classifier"]
    heads = [classifier] if isinstance(classifier, str) else classifier
    own = net.state_dict()
    new = {
        name: value
        for name, value in own.items()
        if name.rsplit(".", 1)[0] in heads and name in state and state[name].shape != value.shape
    }
    models.fit(net, state | new, file)


def peak_memory_mb(device):
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
