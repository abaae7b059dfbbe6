"""T2T-ViT-7, -14 and -24, as models of timm: `timm: t2t_vit_14`.

Yuan et al., "Tokens-to-token ViT: training vision transformers from scratch on ImageNet", ICCV 2021: a vision
transformer whose patch embedding makes tokens of overlapping windows three times, and lets them attend to
each other between, by the random features of Choromanski et al., "Rethinking attention with performers", ICLR
2021. Behind it all is timm's. Statistics, crop and interpolation are those of yitu-opensource/T2T-ViT, whose
public checkpoints fit: 71.7_T2T_ViT_7.pth.tar, 81.5_T2T_ViT_14.pth.tar and 82.3_T2T_ViT_24.pth.tar.
"""

import math

import torch
from timm.layers import PatchEmbed
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

FACTS = {
    "input_size": (3, 224, 224),
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "num_classes": 1000,
    "classifier": "head",
}
default_cfgs = generate_default_cfgs(dict.fromkeys(["t2t_vit_7", "t2t_vit_14", "t2t_vit_24"], FACTS))

TOKEN_WIDTH = 64  # of the tokens before the last ones


class Performer(nn.Module):
    """A transformer block whose attention takes time and memory in proportion to the tokens.

    float [N, tokens, inputs] -> float [N, tokens, TOKEN_WIDTH]. Values take the place of the first skip
    connection, as the widths differ.
    """

    def __init__(self, inputs):
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.kqv = nn.Linear(inputs, 3 * TOKEN_WIDTH)
        self.proj = nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH)
        self.dropout = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(TOKEN_WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH),
            nn.GELU(),
            nn.Linear(TOKEN_WIDTH, TOKEN_WIDTH),
            nn.Dropout(0.1),
        )
        features = TOKEN_WIDTH // 2
        directions = nn.init.orthogonal_(torch.empty(features, TOKEN_WIDTH)) * math.sqrt(features)
        self.w = nn.Parameter(directions, requires_grad=False)

    def features(self, x):
        """Positive random features, whose products are on average exp(x y): float32 [N, tokens, features]."""
        x = x.float()
        return torch.exp(x @ self.w.T - x.square().sum(-1, keepdim=True) / 2) / math.sqrt(len(self.w))

    def forward(self, x):
        keys, queries, values = self.kqv(self.norm1(x)).chunk(3, -1)
        keys, queries = self.features(keys), self.features(queries)
        attended = queries @ (keys.transpose(1, 2) @ values)
        total = queries @ keys.sum(1).unsqueeze(2)  # over which it is a mean
        x = values + self.dropout(self.proj(attended / (total + 1e-8)))
        return x + self.mlp(self.norm2(x))


class TokensToToken(nn.Module):
    """float [N, channels, H, W] -> float [N, width, H / 16, W / 16]; H and W are multiples of 16."""

    def __init__(self, channels, width):
        super().__init__()
        self.soft_split0 = nn.Unfold(7, stride=4, padding=2)
        self.soft_split1 = nn.Unfold(3, stride=2, padding=1)
        self.soft_split2 = nn.Unfold(3, stride=2, padding=1)
        self.attention1 = Performer(channels * 7 * 7)
        self.attention2 = Performer(TOKEN_WIDTH * 3 * 3)
        self.project = nn.Linear(TOKEN_WIDTH * 3 * 3, width)

    def forward(self, x):
        rows, columns = x.shape[2] // 16, x.shape[3] // 16
        x = self.attention1(self.soft_split0(x).transpose(1, 2))
        x = x.transpose(1, 2).unflatten(2, (4 * rows, 4 * columns))
        x = self.attention2(self.soft_split1(x).transpose(1, 2))
        x = x.transpose(1, 2).unflatten(2, (2 * rows, 2 * columns))
        x = self.project(self.soft_split2(x).transpose(1, 2))
        return x.transpose(1, 2).unflatten(2, (rows, columns))


class SoftPatches(PatchEmbed):
    """timm's patch embedding, with tokens to token in place of its convolution."""

    def __init__(self, img_size=224, patch_size=16, in_chans=3, embed_dim=768, **options):
        super().__init__(img_size, patch_size, in_chans, embed_dim, **options)
        self.proj = TokensToToken(in_chans, embed_dim)

    def _init_img_size(self, img_size):
        assert self.patch_size == (16, 16), "tokens lie 16 pixels apart, whatever patch_size"
        found = super()._init_img_size(img_size)
        assert not any(side % 16 for side in found[0]), "img_size must be a multiple of 16"
        return found


class T2TViT(VisionTransformer):
    """timm's vision transformer on such tokens; positions are sinusoids, which no training changes."""

    def init_weights(self, mode="", needs_reset=True):
        super().init_weights(mode, needs_reset)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        if self.pos_embed is not None:
            self.pos_embed.data.copy_(sinusoids(*self.pos_embed.shape[1:]))
            self.pos_embed.requires_grad_(False)


def sinusoids(positions, width):
    """Sine and cosine of each position in turn, of frequencies from 1 to 1/10000: float64 [positions, width].
    width: even."""
    frequencies = 10000 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)


def checkpoint_filter_fn(state, net):
    """A state dict of the authors' code with the names of this one."""
    return {name.replace("tokens_to_token.", "patch_embed.proj."): value for name, value in state.items()}


def build(variant, pretrained, options, **shape):
    """The network of a size, with timm's `options` where these say otherwise."""
    options = {"qkv_bias": False, "norm_layer": nn.LayerNorm, "embed_layer": SoftPatches} | shape | options
    return build_model_with_cfg(T2TViT, variant, pretrained, **options)


@register_model
def t2t_vit_7(pretrained=False, **options):
    """Without weights of its own, as the other two: give the file, `weights: PATH`."""
    return build("t2t_vit_7", pretrained, options, embed_dim=256, depth=7, num_heads=4, mlp_ratio=2)


@register_model
def t2t_vit_14(pretrained=False, **options):
    return build("t2t_vit_14", pretrained, options, embed_dim=384, depth=14, num_heads=6, mlp_ratio=3)


@register_model
def t2t_vit_24(pretrained=False, **options):
    return build("t2t_vit_24", pretrained, options, embed_dim=512, depth=24, num_heads=8, mlp_ratio=3)
