"""What is seen of a dataset under a perturbation, whoever looks."""

import contextlib
import importlib
import inspect

import numpy as np
import safetensors.torch
import torch

from patchwork import files, noise, packed


class Batch:
    """Some consecutive images of a dataset, read once for all levels and seeds.

    images: float32 [N, 3, H, W] in [0, 1]. labels: int64 [N]. paths: of the files, [N].
    needs: arrays that the perturbation asked for by NEEDS, their rows of these images.
    """

    def __init__(self, images, labels, paths, needs):
        self.images, self.labels, self.paths, self.needs = images, labels, paths, needs
        self.drawn = {}  # seed: its random numbers


class View:
    """A packed dataset under one perturbation.

    data: packed.Packed. dataset: its name, for the random numbers. perturbation: a file in perturbations/.
    variant: one of its VARIANTS. device: where the images are perturbed. settings: values for its SETTINGS
    that differ from its own. needs: {name: path} for what it lists in NEEDS: a .npy file with a row per
    image, a .safetensors file as a dict of tensors, anything else as the path that it is. What the dataset
    does not have of them is None.

    The functions of a perturbation are given what their parameters name: images, labels, paths, level, seed,
    noise, variant, model, what NEEDS lists and what SETTINGS sets.
    """

    def __init__(self, data, dataset, perturbation, variant, device="cpu", settings=None, needs=None):
        self.data, self.dataset, self.perturbation = data, dataset, perturbation
        self.module = importlib.import_module(f"patchwork.perturbations.{perturbation}")
        self.device = torch.device(device)
        self.settings = getattr(self.module, "SETTINGS", {}) | (settings or {})
        # `plain` stands for a perturbation without variants and decides nothing
        self.arguments = ({"variant": variant} if hasattr(self.module, "VARIANTS") else {}) | self.settings
        self.arrays, self.files = {}, dict.fromkeys(getattr(self.module, "NEEDS", []))
        for name, path in (needs or {}).items():
            if str(path).endswith(".npy"):
                with files.reading(path):
                    self.arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            elif str(path).endswith(".safetensors"):
                with files.reading(path):
                    tensors = safetensors.torch.load_file(path)
                self.files[name] = {key: tensor.to(self.device) for key, tensor in tensors.items()}
            else:
                self.files[name] = path

    def batch(self, first, last):
        """Images first..last as a Batch."""
        images = packed.pixels(self.data, first, last, self.device)
        labels = torch.from_numpy(self.data.labels[first:last]).to(self.device)
        rows = {n: torch.from_numpy(a[first:last].copy()).to(self.device) for n, a in self.arrays.items()}
        return Batch(images, labels, self.data.paths[first:last], rows)

    def noise(self, batch, seed):
        """The random numbers of a batch under a seed: float64 [N, NOISE], or None.

        NOISE is a number, "pixels" for as many as an image has pixels, "values" for three times as many, or
        "keys" for the images' keys themselves, int64 [N], from which noise.uniform draws. Perturbations of
        the same NOISE_NAME (their own name if they have none) draw the same numbers.
        """
        count = getattr(self.module, "NOISE", None)
        if count is not None and seed not in batch.drawn:
            image = batch.images[0]
            count = {"pixels": image[0].numel(), "values": image.numel()}.get(count, count)
            name = getattr(self.module, "NOISE_NAME", self.perturbation)
            keys = [noise.key(seed, self.dataset, path, name) for path in batch.paths]
            keys = torch.tensor(keys, device=self.device)
            batch.drawn[seed] = keys if count == "keys" else noise.uniform(keys, count)
        return batch.drawn.get(seed)

    def call(self, function, batch, level, seed, **more):
        """Call a function of the perturbation with what its parameters name."""
        function = getattr(self.module, function)
        given = {"images": batch.images, "labels": batch.labels, "paths": batch.paths, "level": level}
        given |= {"seed": seed, "noise": self.noise(batch, seed), **self.files, **batch.needs}
        given |= {**self.arguments, **more}
        return function(**{name: given[name] for name in inspect.signature(function).parameters})

    def perturb(self, batch, level, seed, model=None):
        """The images as they are seen (float32 [N, 3, H, W]), and where they are blacked out (bool
        [N, 1, H, W], or None where nothing ever is).

        A perturbation that blacks out says where by `dropped`, and by `fill` what is put there if it is
        not black; any other changes the images by `apply`. model: models.Model, for one that asks for it.
        """
        if not hasattr(self.module, "dropped"):
            return self.call("apply", batch, level, seed, model=model), None
        dropped = self.call("dropped", batch, level, seed, model=model)
        kept = (~dropped).float()  # a product of floats takes half the time of masked_fill
        seen = batch.images * kept
        if hasattr(self.module, "fill"):
            seen += self.call("fill", batch, level, seed) * (1 - kept)
        return seen, dropped

    def inside(self, batch, level, seed, model):
        """A context in which `model` is changed as the perturbation wants it for this batch, if it does."""
        if not hasattr(self.module, "inside"):
            return contextlib.nullcontext()
        return self.call("inside", batch, level, seed, model=model)

    def refusal(self, level, model):
        """Why `model` cannot be looked at under this level, in words; None if it can."""
        if not hasattr(self.module, "refuses"):
            return None
        return self.module.refuses(model, level, self.arguments.get("variant"))
