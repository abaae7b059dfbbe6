import numpy as np
import pytest
import torch
from PIL import Image

from patchwork import models, training

VIT = {
    "timm": "vit_tiny_patch16_224",
    "options": {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2, "proj_drop_rate": 0.2},
}
RESNET = {"timm": "resnet10t", "size": 32, "options": {"channels": [8, 8, 8, 8], "stem_width": 4}}
RUN = {
    "epochs": 3,
    "batch_images": 8,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "warmup_epochs": 1,
    "augmentation": {"hflip": 0.5, "scale": [0.5, 1]},
}


@pytest.fixture
def folder(tmp_path):
    """Two classes, one reddish and one bluish; a natural sort would put c2 first, ours puts c10 first."""
    random = np.random.default_rng(0)
    for name, channel in [("c10", 0), ("c2", 2)]:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 128, (32, 32, 3), np.uint8)
            pixels[..., channel] += 80
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def stored(checkpoint, path):
    training.save(path, checkpoint)
    return training.load(path)


def same(first, second):
    return all(torch.equal(first["model"][name], second["model"][name]) for name in first["model"])


@pytest.mark.parametrize(("entry", "workers"), [(VIT, 0), (RESNET, 0), (VIT, 2)])
def test_stages_end_with_the_bits_of_an_uncut_run(folder, tmp_path, entry, workers):
    whole = training.train_stage(entry, folder, "run", RUN, 3, workers=workers)
    part = stored(training.train_stage(entry, folder, "run", RUN, 1, workers=workers), tmp_path / "1.pt")
    np.random.seed(99)
    torch.manual_seed(99)
    rest = training.train_stage(entry, folder, "run", RUN, 3, resume=part, workers=workers)
    assert same(whole, rest)
    assert [row["epoch"] for row in rest["metrics"]] == [1, 2, 3]
    assert [row["loss"] for row in rest["metrics"]] == [row["loss"] for row in whole["metrics"]]
    assert not same(whole, training.train_stage(entry, folder, "another run", RUN, 3, workers=workers))


def test_epochs_differ_in_order_and_augmentation(folder):
    still = {"learning_rate": 0.0, "warmup_epochs": 0, "weight_decay": 0.0}  # only the images can change
    checkpoint = training.train_stage(
        {**VIT, "options": {**VIT["options"], "proj_drop_rate": 0}}, folder, "run", RUN | still, 3
    )
    assert len({row["loss"] for row in checkpoint["metrics"]}) == 3


def test_training_learns_the_classes_in_the_order_of_their_names(folder):
    run = RUN | {"epochs": 10, "learning_rate": 1e-2}
    checkpoint = training.train_stage(RESNET, folder, "run", run, 10)
    assert checkpoint["classes"] == ["c10", "c2"]
    assert checkpoint["metrics"][-1]["loss"] < 0.6 * checkpoint["metrics"][0]["loss"]
    assert checkpoint["metrics"][-1]["learning_rate"] < 0.1 * run["learning_rate"]
    net = models.create(RESNET, 2)
    net.load_state_dict(checkpoint["model"])
    pixels = torch.full((2, 3, 32, 32), 0.25)
    pixels[0, 0] = pixels[1, 2] = 0.55
    assert models.Model(net, (32, 32)).eval()(pixels).argmax(1).tolist() == [0, 1]


def test_a_loss_that_is_no_number_is_refused(folder):
    run = RUN | {"learning_rate": 1e30, "warmup_epochs": 0}
    with pytest.raises(ValueError, match=r"loss of run steep is (nan|inf) in epoch 1, step \d of 3"):
        training.train_stage(VIT, folder, "steep", run, 3)


def test_a_folder_smaller_than_a_batch_is_refused(folder):
    with pytest.raises(ValueError, match="24 images, fewer than one batch of batch_images: 64"):
        training.train_stage(VIT, folder, "run", RUN | {"batch_images": 64}, 1)


def test_a_stage_goes_on_with_the_same_classes_only(folder):
    part = training.train_stage(VIT, folder, "run", RUN, 1)
    (folder / "c2").rename(folder / "c3")
    with pytest.raises(ValueError, match=r"began with classes \['c10', 'c2'\].* has \['c10', 'c3'\]"):
        training.train_stage(VIT, folder, "run", RUN, 2, resume=part)
