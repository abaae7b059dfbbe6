"""The tokens of every block of a network: stored once, from one pass, for whatever is read out of them.

Source: the last part of section 3 of the paper (figures 14 to 16, table 5), which trains classifiers on class
tokens and mean patch tokens of one block or of several, each after the network's last norm. Its ResNet has
features before the head alone; here a network without a class token has those of every stage.
"""

import hashlib
import inspect
import json
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0

from patchwork import files, models

SAME = 1e-4  # of the largest feature; what differs by less is the same sum in another order


class Tokens:
    """What `extract` has stored of a model and a dataset; it stays on the disk until it is read.

    `parts`: dicts of block (from 1), token (class, shape, patch or pooled), first and width (columns), of
    block after block. `decides`: the place among them of what the network's own head sees. `depth`: blocks or
    stages. `refused`: why there are none, None if there are. `digest`: of all values.
    """

    def __init__(self, path):
        with files.reading(facts_path(path)):
            facts = json.loads(facts_path(path).read_text(encoding="utf-8"))
        self.parts, self.depth, self.decides = facts["parts"], facts["depth"], facts["decides"]
        self.refused, self.digest = facts["refused"], facts["digest"]
        with files.reading(path):
            self.array = np.load(path, mmap_mode="r", allow_pickle=False)

    def __len__(self):
        return len(self.array)

    def features(self, parts, rows=None):
        """The features of some parts, by their places, side by side: float32 [rows, width].

        rows: those of the packed index, as numpy takes them; None for all.
        """
        rows = slice(None) if rows is None else rows
        chosen = [self.parts[place] for place in parts]
        columns = [self.array[rows, part["first"] : part["first"] + part["width"]] for part in chosen]
        return np.concatenate(columns, 1, dtype=np.float32)


def facts_path(path):
    """The .json that tells what is in an array of tokens: it stands beside it."""
    return Path(path).with_suffix(".json")


def extract(subject, path):
    """Store the tokens of all images of a measuring.Subject: float16 [N, columns] at `path` (.npy), in the
    order of the packed index, and what the columns are beside it (.json; see Tokens).

    Of a network that has none to read out the array has no columns. Raises ValueError naming the images where
    a value is no number or more than float16 holds.
    """
    facts = layout(subject.model)
    if facts["refused"]:
        logging.info("left out: %s", facts["refused"])
    parts, digest = facts["parts"], hashlib.blake2b(digest_size=16)

    def look(first, last):
        found, decides = readouts(subject.model, subject.pixels(first, last))
        features = [values for _, _, values in found] + [decides]
        whole = torch.cat(features[: len(parts)], 1)
        stored = whole.half()
        if not stored.isfinite().all():
            subject.finite(whole, first, last)
            row = int((~stored.isfinite()).any(1).nonzero()[0])
            raise ValueError(
                f"{subject.model.origin['timm']} has features of {whole[row].abs().max():.3g} for "
                f"{subject.data.paths[first + row]} of {subject.dataset}; float16, in which they are stored, "
                "ends at 65504"
            )
        return stored.cpu().numpy()

    shape = len(subject.data.paths), sum(part["width"] for part in parts)
    # Written, not mapped: to a mapped file on a full disk the answer is a signal, not an error.
    with files.whole(path) as temporary, open(temporary, "wb") as array:
        write_array_header_1_0(array, {"descr": "<f2", "fortran_order": False, "shape": shape})
        for values in subject.each(look) if parts else []:
            array.write(values.tobytes())
            digest.update(values)
    with files.whole(facts_path(path)) as temporary:
        temporary.write_text(json.dumps(facts | {"digest": digest.hexdigest()}), encoding="utf-8")


@torch.inference_mode()
def layout(model):
    """What can be read out of a network: {parts, depth, decides, refused}, as Tokens has them. Tried on one
    image of noise."""
    pixels = torch.rand((1, 3, *model.size), generator=torch.Generator().manual_seed(0)).to(model.mean.device)
    try:
        features = model.features(pixels)
        found, decides = readouts(model, pixels)
        if not alike(decides, features):
            raise ValueError(
                f"the stages that timm tells of {type(model.net).__name__} do not lead to its head"
            )
    except ValueError as error:
        return {"parts": [], "depth": 0, "decides": None, "refused": str(error)}
    depth = found[-1][0]
    places = [n for n, (block, _, values) in enumerate(found) if block == depth and alike(values, decides)]
    if not places:
        places, found = [len(found)], [*found, (depth + 1, "pooled", decides)]
    parts, first = [], 0
    for block, token, values in found:
        width = values.shape[1]
        parts.append({"block": block, "token": token, "first": first, "width": width})
        first += width
    return {"parts": parts, "depth": depth, "decides": places[0], "refused": None}


def alike(one, other):
    """Whether two tensors of features are the same but for rounding. What is no number is told of images."""
    return one.shape == other.shape and not (one - other).abs().max() > SAME * other.abs().max()


def readouts(model, pixels):
    """What can be read out of a network in one pass: a list of (block, token, float [N, width]), and what its
    head sees (as models.Model.features), float [N, width].

    Of each block of a network whose blocks have a class token: this token, the second one of a distilled
    network, and the mean of the patch tokens, all after the last norm. Of any other the mean over the places
    of each stage (a stem is the first where timm lists it), "pooled"; of a vision transformer without class
    token, of each block after the last norm. Raises ValueError for a network of which timm tells no stages.
    """
    net = model.net
    if not hasattr(net, "forward_intermediates"):
        raise ValueError(f"timm tells no stages of {type(net).__name__}")
    of_tokens = "return_prefix_tokens" in inspect.signature(net.forward_intermediates).parameters
    if of_tokens and not models.no_class_token(net):
        blocks = model.tokens(pixels)
        names = ["class", "shape"][: 1 + hasattr(net, "head_dist")]
        found = [
            (number, token, values)
            for number, (prefix, patch) in enumerate(blocks, 1)
            for token, values in [
                *zip(names, prefix.unbind(1), strict=False),  # registers are read by nothing
                ("patch", patch.mean(1, dtype=torch.float32)),
            ]
        ]
        last = torch.cat(blocks[-1], 1)
    elif of_tokens:
        last, blocks = net.forward_intermediates(model.prepare(pixels), norm=True, output_fmt="NLC")
        found = [(n, "pooled", patch.mean(1, dtype=torch.float32)) for n, patch in enumerate(blocks, 1)]
    else:
        last, maps = net.forward_intermediates(model.prepare(pixels))
        found = [(n, "pooled", each.mean((2, 3), dtype=torch.float32)) for n, each in enumerate(maps, 1)]
    return found, model.before_head(last)
