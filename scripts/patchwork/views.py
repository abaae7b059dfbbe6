"""What is seen of a dataset under a perturbation, whoever looks."""

import importlib

import torch

from patchwork import noise


class View:
    """A packed dataset under one perturbation.

    data: packed.Packed. dataset: its name, for the random numbers. perturbation: a file in perturbations/.
    variant: one of its VARIANTS; ignored where it has none. device: where the images are perturbed.
    """

    def __init__(self, data, dataset, perturbation, variant, device="cpu"):
        self.data, self.dataset, self.perturbation = data, dataset, perturbation
        self.module = importlib.import_module(f"patchwork.perturbations.{perturbation}")
        self.arguments = {"variant": variant} if hasattr(self.module, "VARIANTS") else {}
        self.device = torch.device(device)

    def images(self, first, last):
        """Images first..last: float32 [N, 3, H, W] in [0, 1]."""
        return torch.from_numpy(self.data.read(first, last)).to(self.device).float().div_(255)

    def draw(self, seed, first, last):
        """The random numbers of images first..last under a seed: float64 [N, NOISE], or None."""
        if not hasattr(self.module, "NOISE"):
            return None
        keys = [
            noise.key(seed, self.dataset, path, self.perturbation) for path in self.data.paths[first:last]
        ]
        return noise.uniform(torch.tensor(keys, device=self.device), self.module.NOISE)

    def perturb(self, images, level, drawn):
        """The images as they are seen, and the share of pixels blacked out of each (float32 [N]).

        A perturbation that blacks out says where, by `dropped`; any other changes the images by `apply`.
        """
        if hasattr(self.module, "dropped"):
            dropped = self.module.dropped(images, level, drawn, **self.arguments)
            kept = (~dropped).float()  # a product of floats takes half the time of masked_fill
            return images * kept, 1 - kept.mean((1, 2, 3))
        seen = self.module.apply(images, level, drawn, **self.arguments)
        return seen, torch.zeros(len(images), device=self.device)
