"""The encoder of the authors of AdaIN, as a model of timm: `timm: vgg_normalised`.

VGG-19 up to relu5_4, scaled so that the mean activation of every channel is 1 (Gatys et al., "Image style
transfer using convolutional neural networks", 2016), with reflection padding and a first 1x1 convolution that
does what others do with mean and deviation. The modules are named as in the public vgg_normalised.pth of
naoto0804/pytorch-AdaIN; relu1_1, relu2_1, relu3_1 and relu4_1 are 3, 10, 17 and 30.
"""

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

WIDTHS = [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4]  # of the convolutions of each block

default_cfgs = generate_default_cfgs(
    {
        "vgg_normalised": {
            "input_size": (3, 224, 224),
            "mean": (0.0, 0.0, 0.0),
            "std": (1.0, 1.0, 1.0),
            "num_classes": 0,
            "classifier": "",
            "first_conv": "0",
        }
    }
)


class NormalisedVGG(nn.Sequential):
    """float [N, 3, H, W] in [0, 1] -> features [N, 512, H / 16, W / 16], rounded up. It has no classes."""

    num_classes = 0

    def __init__(self, **unused):
        before, parts = 3, list[nn.Module]([nn.Conv2d(3, 3, 1)])
        for block, widths in enumerate(WIDTHS):
            if block:
                parts.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            for width in widths:
                parts += [nn.ReflectionPad2d(1), nn.Conv2d(before, width, 3), nn.ReLU()]
                before = width
        super().__init__(*parts)


@register_model
def vgg_normalised(pretrained=False, **options):
    """Without weights of its own: give the file, `weights: PATH`."""
    return build_model_with_cfg(NormalisedVGG, "vgg_normalised", pretrained, **options)
