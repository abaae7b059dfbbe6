"""How well does the class token of each block name the class, through the network's own head?

The token of a block goes through the network's last norm and its head, as that of the last block does when
the network decides. Of a distilled network these are the token and the head that the model decides by: those
of the class token, of the shape token, or the mean of the logits of both.

Source: figure 15 of the paper, and the authors' code for it.
"""

import torch

from patchwork import models
from patchwork.measuring import joined

COLUMNS = {"image": "int32", "block": "int16", "rank": "int16"}
NEEDS = ["labels"]


def refuses(model):
    """It needs class tokens in the blocks, and a head that looks at them. Tried on one black image."""
    net = model.net
    try:
        with torch.inference_mode():
            model.tokens(torch.zeros(1, 3, *model.size, device=model.mean.device))
    except ValueError as error:
        return str(error)
    if net.global_pool != "token":
        return f"{type(net).__name__} decides by other tokens than the class token"
    return None


def measure(subject):
    """A row per image and block (from 1); `rank` is that of the true class, 0 where it is the answer."""
    model = subject.model

    def look(first, last):
        blocks = model.tokens(subject.pixels(first, last), norm=False)
        prefix = torch.stack([tokens for tokens, _ in blocks], 1)  # [N, blocks, prefix tokens, width]
        logits = model.answer(model.net.norm(prefix).flatten(0, 1))
        labels = torch.from_numpy(subject.data.labels[first:last]).to(logits.device)
        images, depth = torch.arange(first, last), len(blocks)
        return {
            "image": images.repeat_interleave(depth),
            "block": torch.arange(1, depth + 1).repeat(len(images)),
            "rank": models.ranks(subject.finite(logits, first, last), labels.repeat_interleave(depth)),
        }

    return joined(subject.each(look)), {}
