"""timm's first ViT-S, as a model of timm: `timm: vit_small_patch16_224_2020`.

The ViT-S of the paper: 8 blocks of width 768 and 8 heads, MLPs of three times the width, no biases of
queries, keys and values, trained on ImageNet-1k alone. What timm has today under the name
vit_small_patch16_224 is another network. The public checkpoint is vit_small_p16_224-15ec54c9.pth.
"""

from typing import Any

from timm.layers import Attention
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from patchwork import t2t_vit

# timm's statistics for these weights, ImageNet's. The authors of the paper fed it images of mean 0.5.
default_cfgs = generate_default_cfgs(
    {"vit_small_patch16_224_2020": t2t_vit.FACTS | {"first_conv": "patch_embed.proj"}}
)


class Scaled(nn.Module):
    """A tensor times a number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class WideScale(Attention):
    """Attention whose products are divided by the root of the width of all heads together, as these weights
    were trained, and not of one of them."""

    def __init__(self, dim, *arguments, **options):
        super().__init__(dim, *arguments, **options)
        # On the queries: the fused kernel divides by the root of a head's width, whatever `scale` says.
        self.q_norm = Scaled((self.head_dim / dim) ** 0.5)


@register_model
def vit_small_patch16_224_2020(pretrained=False, **options):
    """Without weights of its own: give the file, `weights: PATH`."""
    shape: dict[str, Any] = {"embed_dim": 768, "depth": 8, "num_heads": 8, "mlp_ratio": 3, "qkv_bias": False}
    layers: dict[str, Any] = {"norm_layer": nn.LayerNorm, "attn_layer": WideScale}
    options = shape | layers | options
    return build_model_with_cfg(VisionTransformer, "vit_small_patch16_224_2020", pretrained, **options)
