"""A vision transformer as a slow program: plain numpy, in float64, of the values of a state dict alone."""

import math

import numpy as np


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


class Program:
    """What layers of those names do to tokens, float [tokens, width]."""

    def __init__(self, state):
        self.state = {name: value.double().numpy() for name, value in state.items()}

    def layer(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0)

    def norm(self, name, x):
        normed = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return normed * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def encode(self, patches, heads, scale):
        """Logits [classes], tokens after each block [blocks, tokens, width] and attention of each block
        [blocks, heads, tokens, tokens], of patch tokens without positions. scale: of products of
        queries and keys."""
        x = np.concatenate([self.state["cls_token"][0], patches]) + self.state["pos_embed"][0]
        after, attended = [], []
        for number in range(sum(name.endswith("qkv.weight") for name in self.state)):
            name = f"blocks.{number}"
            parts = np.split(self.layer(f"{name}.attn.qkv", self.norm(f"{name}.norm1", x)), 3, axis=1)
            maps, mixed = [], []
            for q, k, v in zip(*(np.split(part, heads, axis=1) for part in parts), strict=True):
                scores = np.exp(q @ k.T * scale)
                maps.append(scores / scores.sum(1, keepdims=True))
                mixed.append(maps[-1] @ v)
            x = x + self.layer(f"{name}.attn.proj", np.concatenate(mixed, 1))
            hidden = gelu(self.layer(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x)))
            x = x + self.layer(f"{name}.mlp.fc2", hidden)
            after.append(x)
            attended.append(maps)
        logits = self.layer("head", self.norm("norm", x)[:1])[0]
        return logits, np.stack(after), np.array(attended)
