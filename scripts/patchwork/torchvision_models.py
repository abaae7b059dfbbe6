"""torchvision's networks, as models of timm: `timm: torchvision_alexnet`, `timm: torchvision_squeezenet1_1`.

Parameters have torchvision's names, so that its files fit. Without `weights` it is those that torchvision
takes by default; statistics and size are theirs. DenseNet, whose file has the names of an older version and
which timm has, and MNASNet, whose weights torchvision refuses without a version number beside them, are left
out.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn
from torchvision import models

from patchwork import hooks

NAMES = [name for name in models.list_models(module=models) if not name.startswith(("densenet", "mnasnet"))]


def facts(name):
    """What timm wants to know of the weights that torchvision takes by default."""
    weights = models.get_model_weights(name)["DEFAULT"]
    seen = weights.transforms()
    return {
        "url": weights.url,
        "num_classes": len(weights.meta["categories"]),
        "input_size": (3, seen.crop_size[0], seen.crop_size[0]),
        "crop_pct": seen.crop_size[0] / seen.resize_size[0],
        "interpolation": seen.interpolation.value,
        "mean": tuple(seen.mean),
        "std": tuple(seen.std),
    }


default_cfgs = generate_default_cfgs({f"torchvision_{name}": facts(name) for name in NAMES})


class Adapted(nn.Module):
    """What timm's networks can do and torchvision's cannot; mixed into a class of torchvision's.

    `last` is the name of the layer that makes logits. What it sees are the features of the network: of
    AlexNet the 4096 outputs of the layer before, float [N, 4096], of a ResNet its pooled map. Of SqueezeNet,
    where it is a convolution whose outputs are pooled, it is a map, float [N, 512, H, W].
    Stages are those between the max poolings of AlexNet, VGG and SqueezeNet; of others none are told.
    """

    last: str
    feature_info: list[dict[str, str]]

    def forward_features(self, x):
        """What the last layer sees: float [N, width] or [N, width, H, W]."""
        seen = []
        layer = self.get_submodule(self.last)
        with hooks.hooked([layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))]):
            self(x)
        return seen[0]

    def forward_head(self, x, pre_logits=False):
        """Logits of what forward_features gives, float [N, classes]; with `pre_logits` the features
        themselves, a map pooled, float [N, width]."""
        if pre_logits:
            return x.mean((2, 3)) if x.ndim == 4 else x
        parent, _, place = self.last.rpartition(".")
        head = self.get_submodule(parent if place.isdigit() else self.last)
        return (head[int(place) :] if isinstance(head, nn.Sequential) else head)(x).flatten(1)

    def forward_intermediates(self, x):
        """What forward_features gives, and the map that leaves each stage, float [N, channels, H, W].
        Raises ValueError for a network of which no stages are told."""
        if not self.feature_info:
            raise ValueError(f"no stages of torchvision's {type(self).__name__} are known")
        maps = []
        ends = [self.get_submodule(stage["module"]) for stage in self.feature_info]
        with hooks.hooked(
            [end.register_forward_hook(lambda module, inputs, output: maps.append(output)) for end in ends]
        ):
            return self.forward_features(x), maps


def stages(net):
    """The last layer of each stage, as timm tells those of VGG: a list of {module}."""
    layers = [*getattr(net, "features", [])]
    ends = [place - 1 for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    if not ends:
        return []
    last = len(layers) - 1  # of AlexNet and VGG a pooling, which is part of the last stage
    return [{"module": f"features.{place}"} for place in [*(n for n in ends if n < last - 1), last]]


def build(name, num_classes, in_chans=3, **options):
    """torchvision's network with what timm's have. Without classes it ends before its last layer."""
    assert in_chans == 3, "images have three channels"
    if name.startswith("vit_"):
        options = {"image_size": facts(name)["input_size"][1]} | options
    net: Any = models.get_model(name, weights=None, num_classes=num_classes or 1000, **options)
    if hasattr(net, "transform_input"):  # GoogLeNet and Inception; torchvision does so with their weights
        net.transform_input = True
    layers = {n: layer for n, layer in net.named_modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
    last, layer = [*layers.items()][-1]
    net.__class__ = type(type(net).__name__, (Adapted, type(net)), {})
    net.last, net.num_classes, net.feature_info = last, num_classes, stages(net)
    net.num_features = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    if not num_classes:
        net.set_submodule(last, nn.Identity())
    return net


def register(name):
    """Make a network of torchvision's known to timm."""

    def create(pretrained=False, **options):
        net = build_model_with_cfg(
            lambda **all_options: build(name, **all_options), create.__name__, pretrained, **options
        )
        net.pretrained_cfg["classifier"] = net.last
        return net

    create.__name__ = f"torchvision_{name}"
    register_model(create)


for name in NAMES:
    register(name)
