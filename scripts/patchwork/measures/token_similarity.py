"""How alike are the class token and the second token that learns, the shape (or distillation) token?

Source: section 3.2 of the paper, which tells the mean cosine over ImageNet's validation images. It does not
tell the block, nor whether the tokens are normalised by the network's last layer norm first, so both are
measured in every block: after the norm, which is what the heads see, and before.
"""

import torch
from torch.nn.functional import cosine_similarity

from patchwork.measuring import joined

COLUMNS = {"image": "int32", "block": "int16", "cosine": "float32", "cosine_before_norm": "float32"}


def refuses(model):
    """It needs two tokens that pass the blocks, each with a head of its own; registers have none."""
    two = hasattr(model.net, "head_dist") and getattr(model.net, "num_prefix_tokens", 0) == 2
    return (
        None if two else f"{type(model.net).__name__} has no second token beside a class token in its blocks"
    )


def measure(subject):
    """A row per image and block (from 1)."""

    def look(first, last):
        blocks = subject.model.tokens(subject.pixels(first, last), norm=False)
        before = torch.stack([prefix[:, :2] for prefix, _ in blocks], 1)  # [N, blocks, 2, width]
        after = subject.model.net.norm(before)
        cosines = [cosine_similarity(*both.float().unbind(2), dim=2) for both in (after, before)]
        images, depth = torch.arange(first, last), len(blocks)
        return {
            "image": images.repeat_interleave(depth),
            "block": torch.arange(1, depth + 1).repeat(len(images)),
            "cosine": subject.finite(cosines[0], first, last).flatten(),
            "cosine_before_norm": cosines[1].flatten(),
        }

    return joined(subject.each(look)), {}
