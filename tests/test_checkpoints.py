"""Checkpoints are written whole, and read only if they are whole and of the same training."""

import resource

import pytest
import torch

from patchwork import checkpoints


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path):
    path = tmp_path / "kept.pt"
    checkpoints.save(path, {"origin": "a", "value": torch.zeros(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises((OSError, RuntimeError)):
            checkpoints.save(path, {"origin": "a", "value": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.load(path)["value"].tolist() == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoints_of_another_training_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "kept.pt"
    checkpoints.save(path, {"origin": "one"})
    with pytest.raises(ValueError, match=r"kept\.pt is a checkpoint of .* other settings.*one, not two"):
        checkpoints.load(path, "two")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"kept\.pt is damaged"):
        checkpoints.load(path, "one")
