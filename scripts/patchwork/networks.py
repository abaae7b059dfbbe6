"""What models are, as their weights and what their strips have left tell it: no network is built."""

import json
import math
import re

import pyarrow as pa
import safetensors

from patchwork import files, recorded

NETWORKS = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "family", "timm", "options", "run", "head", "weights")),
        ("architecture", pa.string()),  # equal where the networks are, but for their weights
        ("positions", pa.bool_()),  # false for a ViT without
        ("untrained", pa.bool_()),  # of random weights
        ("digest", pa.string()),  # of names, shapes and values of the weights
        ("sha256", pa.string()),  # of the file that they come from
        ("parameters", pa.int64()),
        ("patch_pixels", pa.list_(pa.int32())),  # height and width; null for a network without patches
        ("input_pixels", pa.list_(pa.int32())),
        ("grid", pa.list_(pa.int32())),  # rows and columns of tokens
    ]
)
# Statistics that batch normalisation keeps; what is counted by whole numbers is no parameter either.
STATISTICS = re.compile(r"running_(mean|var)$")


def networks(told, jobs):
    """What models are: a table of NETWORKS.

    told: dicts of what the config says, by the names of NETWORKS, and `file`, the weights as models.save
    writes them. jobs: as of `recorded.jobs`; strips have left how large images come into a network, and its
    grid.
    """
    notes = {job["model"]: job["cost"] for job in jobs if "cost" in job}
    rows = []
    for model in told:
        note = json.loads(recorded.read(notes[model["model"]]) or "{}") if model["model"] in notes else {}
        measured = {name: note[name] for name in ("input_pixels", "grid") if note.get(name)}
        row = model | weights(model["file"]) | measured
        if row["patch_pixels"] and row.get("input_pixels"):
            tokens = [side // own for side, own in zip(row["input_pixels"], row["patch_pixels"], strict=True)]
            row = {"grid": tokens} | row
        rows.append(row)
    return pa.Table.from_pylist(rows, NETWORKS)


def weights(path):
    """What the header of a file of weights tells: {digest, sha256, parameters, patch_pixels}.

    Raises ValueError naming the file if it is damaged.
    """
    with files.reading(path), safetensors.safe_open(path, "numpy") as opened:
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        parameters = sum(
            math.prod(values.get_shape())
            for name, values in slices.items()
            if "F" in values.get_dtype() and not STATISTICS.search(name)
        )
        patches = slices["patch_embed.proj.weight"].get_shape() if "patch_embed.proj.weight" in slices else []
        patch = patches[2:] if len(patches) == 4 else None
        told = opened.metadata()
        found = {"digest": told["digest"], "sha256": json.loads(told.get("sha256", "null"))}
        return found | {"parameters": parameters, "patch_pixels": patch}
