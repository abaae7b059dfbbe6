"""Packed images as a job reads them. What writes them is in pixels.py, so that an edit there does not compute
anew what the digest of the pixels already stands for."""

import json

import numpy as np
import pyarrow.parquet as pq
import torch

from patchwork import files


class Packed:
    """A packed dataset: `labels` (int64 [N]), `paths`, `classes` (names in the order of outputs),
    `categories` (the classes of a model that each of these is made of, None if they are its classes
    themselves), `digest` (of pixels, paths and labels), and the images, which stay on the disk until they are
    read."""

    def __init__(self, array_path, index_path):
        with files.reading(index_path):
            index = pq.read_table(index_path)
        metadata = index.schema.metadata
        index = index.filter(index["image"].is_valid())
        self.labels = index["label"].to_numpy().astype(np.int64)
        self.paths = index["path"].to_pylist()
        self.classes = json.loads(metadata[b"classes"])
        self.categories = json.loads(metadata.get(b"categories", b"null"))
        self.digest = metadata[b"digest"].decode()
        self.array_path = array_path
        with files.reading(array_path):
            array = np.load(array_path, mmap_mode="r", allow_pickle=False)
        if len(index) != len(array):
            raise ValueError(f"{array_path} holds {len(array)} images, {index_path} lists {len(index)}")
        self.shape, self.offset = array.shape[1:], array.offset

    def read(self, first, last):
        """Images first..last: uint8 [N, 3, H, W].

        Read, not mapped: pages of a mapped file count as memory of the job, which would grow with N.
        """
        size = int(np.prod(self.shape))
        data = np.fromfile(
            self.array_path, np.uint8, (last - first) * size, offset=self.offset + first * size
        )
        return data.reshape(-1, *self.shape)


def pixels(data, first, last, device):
    """Images first..last of packed ones as models take them: float32 [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(data.read(first, last)).to(device).float().div_(255)
