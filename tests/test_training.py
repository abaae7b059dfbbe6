import json
import math
import random
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from timm.utils import unwrap_model

from patchwork import checkpoints, exporting, loader, models, packed, pixels, tasks, training

VIT = {
    "timm": "vit_tiny_patch16_224",
    "options": {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2, "proj_drop_rate": 0.2},
}
DISTILLED = {"timm": "deit_tiny_distilled_patch16_224", "options": VIT["options"]}
RESNET = {"timm": "resnet10t", "size": 32, "options": {"channels": [8, 8, 8, 8], "stem_width": 4}}
COMPUTE = {"device": "cpu", "dtype": "float32", "channels_last": True}
PLAIN = {
    "epochs": 3,
    "batch_images": 8,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 0.05,
    "warmup_epochs": 1,
}
# Everything that draws random numbers or carries a state from step to step.
RICH = PLAIN | {
    "augmentation": {"hflip": 0.5, "scale": [0.5, 1], "auto_augment": "rand-m9-mstd0.5-inc1"},
    "drop_path": 0.1,
    "label_smoothing": 0.1,
    "mixup": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "switch_prob": 0.5},
    "random_erasing": {"probability": 0.5, "mode": "pixel"},
    "ema_decay": 0.9,
    "layer_decay": 0.8,
    "clip_gradient": 1.0,
    "repeats": 2,
}


def draw_folder(root):
    """Two classes, one reddish and one bluish; a natural sort would put c2 first, ours puts c10 first."""
    generator = np.random.default_rng(0)
    for name, channel in [("c10", 0), ("c2", 2)]:
        (root / name).mkdir(parents=True)
        for number in range(12):
            image = generator.integers(0, 128, (32, 32, 3), np.uint8)
            image[..., channel] += 80
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "images")


@pytest.fixture
def held_out(folder, tmp_path):
    files = tmp_path / "packed.npy", tmp_path / "packed.parquet"
    pixels.pack(folder, *files, {"resize": 32, "crop": 32, "interpolation": "bilinear"})
    return packed.Packed(*files)


def started(entry, folder, recipe, name="run", **settings):
    return training.Training(entry, folder, name, recipe, compute=COMPUTE, **settings)


def trained(entry, folder, recipe, epochs=None, **settings):
    run = started(entry, folder, recipe, **settings)
    run.run(epochs or recipe["epochs"])
    return run


def weights(run):
    return unwrap_model(run.task.get_eval_model(ema=run.task.has_ema())).state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


class StopAfter:
    """A keeper that saves after so many steps and ends the training there, as a kill would."""

    def __init__(self, path, steps):
        self.path, self.steps = path, steps

    def offer(self, checkpoint):
        self.steps -= 1
        if not self.steps:
            checkpoints.save(self.path, checkpoint())
            raise KeyboardInterrupt


@pytest.fixture
def teacher(folder, tmp_path):
    run = trained(RESNET, folder, PLAIN, epochs=1, name="teacher")
    models.save(tmp_path / "teacher.safetensors", weights(run), run.classes)
    return partial(models.build, RESNET, tmp_path / "teacher.safetensors")


@pytest.mark.parametrize("steps", [1, 3, 4, 8])
@pytest.mark.parametrize("entry", [VIT, RESNET, DISTILLED], ids=["vit", "resnet", "distilled"])
def test_stopped_anywhere_a_training_ends_with_the_bits_of_an_uncut_one(
    folder, tmp_path, teacher, held_out, entry, steps
):
    def settings():
        return {"held_out": held_out} | ({"teacher": teacher} if entry is DISTILLED else {})

    whole = trained(entry, folder, RICH, **settings())
    path = tmp_path / "kept.pt"
    with pytest.raises(KeyboardInterrupt):
        started(entry, folder, RICH, **settings()).run(3, StopAfter(path, steps))
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    rest = started(entry, folder, RICH, **settings())
    rest.resume(checkpoints.load(path, ""))
    rest.run(3)
    assert same(weights(whole), weights(rest))
    assert same(whole.net.state_dict(), rest.net.state_dict())
    timed = ("seconds", "images_per_second", "memory_mb")
    for first, second in zip(whole.metrics, rest.metrics, strict=True):
        assert {k: v for k, v in first.items() if k not in timed} == {
            k: v for k, v in second.items() if k not in timed
        }
    another = trained(entry, folder, RICH, name="another", **settings())
    assert not same(weights(whole), weights(another))


def test_a_stage_that_was_killed_goes_on_with_what_it_has_kept(folder, tmp_path, monkeypatch):
    output, store = tmp_path / "2.pt", tmp_path / "unfinished/run-2.pt"

    def stage(last_epoch=2, resume=None):
        training.train_stage(
            output, last_epoch, "digest", store, resume, 1, RESNET, folder, "run", RICH, compute=COMPUTE
        )

    stage()
    expected = checkpoints.load(output, "digest")
    output.unlink()
    assert not store.exists()
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0)
    offer, left = checkpoints.Keeper.offer, [4]

    def die_after_four(keeper, checkpoint):
        offer(keeper, checkpoint)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Keeper, "offer", die_after_four)
    with pytest.raises(KeyboardInterrupt):
        stage()
    assert not output.exists() and store.exists()
    stage()
    assert left[0] == -2  # two of the six steps were left
    assert not store.exists()
    found = checkpoints.load(output, "digest")
    for key in ("task", "ema"):
        assert same(expected[key]["weights"], found[key]["weights"])
    with pytest.raises(ValueError, match=r"2\.pt is a checkpoint of a training with other settings"):
        training.train_stage(
            tmp_path / "3.pt", 3, "other", store, output, 1, RESNET, folder, "run", RICH, compute=COMPUTE
        )


def test_workers_change_nothing(folder):
    assert same(weights(trained(VIT, folder, RICH)), weights(trained(VIT, folder, RICH, workers=2)))


def test_accumulated_gradients_are_those_of_the_whole_batch(folder):
    entry = {**VIT, "options": VIT["options"] | {"proj_drop_rate": 0}}
    whole = started(entry, folder, PLAIN, name="run")
    parts = started(entry, folder, PLAIN, name="run")
    parts.at_once = 3  # of 8, so that the last part is a smaller one
    for run in (whole, parts):
        run.run(3)
    for first, second in zip(whole.metrics, parts.metrics, strict=True):
        assert math.isclose(first["loss"], second["loss"], rel_tol=1e-4)
        assert first["top1"] == second["top1"]


def test_one_step_is_that_of_plain_torch(folder):
    """Loss, gradient and SGD of the first step, written out."""
    sgd = {"warmup_epochs": 0, "label_smoothing": 0.1, "optimizer": "momentum", "learning_rate": 0.1}
    run = started(RESNET, folder, PLAIN | sgd)
    reference = models.create(RESNET, 2)
    reference.load_state_dict(run.net.state_dict())
    [places, *_] = list(run.order)
    cells = [np.array(Image.open(run.batches.loader.dataset.rows[row][0])) for _, _, row in places]
    images = torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2) / 255
    images = (images - torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)) / torch.tensor(
        (0.229, 0.224, 0.225)
    ).view(1, 3, 1, 1)
    labels = torch.tensor([run.batches.loader.dataset.rows[row][1] for _, _, row in places])
    decayed = [p for p in reference.parameters() if p.ndim > 1]
    others = [p for p in reference.parameters() if p.ndim <= 1]
    groups = [{"params": others, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.05}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    logits = reference.train()(images)
    share = 0.9 * torch.nn.functional.one_hot(labels, 2) + 0.1 / 2
    loss = -(share * logits.log_softmax(1)).sum(1).mean()
    loss.backward()
    optimizer.step()

    with pytest.raises(KeyboardInterrupt):
        run.run(1, StopAfter(folder.parent / "one.pt", 1))
    assert math.isclose(run.sums["loss"] / 8, loss.item(), rel_tol=1e-5)
    for name, value in reference.state_dict().items():
        assert torch.allclose(run.net.state_dict()[name], value, atol=2e-5), name


def test_a_moving_average_is_what_its_formula_says(folder):
    still = {"learning_rate": 3e-3, "warmup_epochs": 0, "ema_decay": 0.5}
    run = started(RESNET, folder, PLAIN | still)
    seen = [run.net.state_dict()["fc.weight"].clone()]

    class Watch:
        def offer(self, checkpoint):
            seen.append(run.net.state_dict()["fc.weight"].clone())

    run.run(1, Watch())
    average = seen[0]
    for step, value in enumerate(seen[1:], 1):
        decay = 0.0 if step == 1 else min(1 - (1 + step - 1) ** (-2 / 3), 0.5)
        average = decay * average + (1 - decay) * value
    assert torch.allclose(weights(run)["fc.weight"], average, atol=1e-6)


def test_epochs_differ_in_order_and_augmentation(folder):
    still = {"learning_rate": 1e-30, "warmup_epochs": 0, "weight_decay": 0.0}  # only the images can change
    entry = {**VIT, "options": VIT["options"] | {"proj_drop_rate": 0}}
    run = trained(entry, folder, PLAIN | still | {"augmentation": {"hflip": 0.5, "scale": [0.5, 1]}})
    assert len({row["loss"] for row in run.metrics}) == 3


def test_training_learns_the_classes_in_the_order_of_their_names(folder, held_out):
    recipe = PLAIN | {"epochs": 10, "learning_rate": 1e-2}
    run = trained(RESNET, folder, recipe, held_out=held_out)
    assert run.classes == ["c10", "c2"]
    assert run.metrics[-1]["loss"] < 0.6 * run.metrics[0]["loss"]
    assert run.metrics[-1]["learning_rate"] < 0.1 * recipe["learning_rate"]
    model = models.Model(run.net, (32, 32)).eval()
    images = torch.full((2, 3, 32, 32), 0.25)
    images[0, 0] = images[1, 2] = 0.55
    assert model(images).argmax(1).tolist() == [0, 1]
    right = model(torch.from_numpy(held_out.read(0, 24)).float() / 255).argmax(1).numpy() == held_out.labels
    assert run.metrics[-1]["held_out_top1"] == right.mean()


def test_an_epoch_sees_every_image_once_or_as_often_as_asked(folder):
    order = loader.Order("run", 24, 8)
    assert sorted(row for batch in order for _, _, row in batch) == list(range(24))
    repeated = loader.Order("run", 24, 8, repeats=3)
    rows = [row for batch in repeated for _, _, row in batch]
    assert len(rows) == 24 and {rows.count(row) for row in rows} == {3}
    shares = [list(loader.Order("run", 24, 8, rank=rank, processes=2)) for rank in (0, 1)]
    for mine, yours, both in zip(*shares, order, strict=True):
        assert sorted(mine + yours) == sorted(both) and len(mine) == 4


def test_hard_and_soft_distillation_are_those_of_deit(folder, teacher):
    """DeiT's losses.py, written out: hard labels of the teacher, or its softened distribution."""
    run = started(DISTILLED, folder, PLAIN, teacher=teacher)
    images, labels = next(iter(run.batches))
    net, judge = run.net.train(), teacher()
    torch.manual_seed(1)
    by_class, by_shape = net(images)
    with torch.no_grad():
        told = judge.net(images)  # both were trained with ImageNet's statistics
    own = torch.nn.functional.cross_entropy(by_class, labels)
    hard = 0.5 * own + 0.5 * torch.nn.functional.cross_entropy(by_shape, told.argmax(1))
    torch.manual_seed(1)
    assert torch.isclose(run.task(images, labels)["loss"], hard, atol=1e-5)

    recipe = PLAIN | {"distillation": {"kind": "soft", "alpha": 0.3, "temperature": 2.0}}
    task = tasks.task(net, recipe, "run", teacher())
    torch.manual_seed(1)
    by_class, by_shape = net(images)
    own = torch.nn.functional.cross_entropy(by_class, labels)
    expected = (told / 2).softmax(1)
    distance = (expected * (expected.log() - (by_shape / 2).log_softmax(1))).sum(1).mean() * 4
    torch.manual_seed(1)
    assert torch.isclose(task(images, labels)["loss"], 0.7 * own + 0.3 * distance, atol=1e-5)


def test_a_teacher_sees_pixels_with_its_own_statistics_and_size(folder, teacher):
    judge = teacher()
    judge.mean.fill_(0.1)
    judge.size = (16, 16)
    seen = []
    judge.net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    run = started(DISTILLED, folder, PLAIN, teacher=lambda classes: judge)
    images, labels = next(iter(run.batches))
    run.task.train()
    run.task(images, labels)
    mean = torch.tensor(run.net.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(run.net.pretrained_cfg["std"]).view(1, 3, 1, 1)
    assert seen[0].shape[-2:] == (16, 16)
    assert torch.allclose(seen[0], judge.prepare(images * std + mean), atol=1e-5)
    assert not judge.training


def test_heads_are_scored_alone(folder, held_out, teacher):
    run = trained(DISTILLED, folder, PLAIN, held_out=held_out, teacher=teacher)
    images = torch.from_numpy(held_out.read(0, 24)).float() / 255
    net = run.net.eval()
    tokens = net.forward_features(run.model.prepare(images))
    for key, index, head in [("held_out_top1", 0, net.head), ("held_out_shape_top1", 1, net.head_dist)]:
        right = head(tokens[:, index]).argmax(1).numpy() == held_out.labels
        assert run.metrics[-1][key] == right.mean()
    models.save(folder.parent / "w.safetensors", net.state_dict(), run.classes)
    file = folder.parent / "w.safetensors"
    build = {head: models.build({**DISTILLED, "head": head}, file) for head in ("class", "shape")}
    default = models.build(DISTILLED, folder.parent / "w.safetensors")
    both = (build["class"](images) + build["shape"](images)) / 2
    assert torch.allclose(default(images), both, atol=1e-5)
    assert not torch.allclose(build["class"](images), build["shape"](images), atol=1e-2)
    assert build["class"].origin != build["shape"].origin


@pytest.mark.parametrize("entry", [VIT, DISTILLED], ids=["plain", "distilled"])
def test_without_positions_the_order_of_tokens_says_nothing(folder, entry, teacher):
    entry = {**entry, "options": entry["options"] | {"pos_embed": "none"}}
    taught = {"teacher": teacher} if entry["timm"] == DISTILLED["timm"] else {}
    net = trained(entry, folder, PLAIN, **taught).net.eval()
    images = torch.rand(2, 3, 32, 32)
    swapped = torch.cat([images[..., 16:, :], images[..., :16, :]], 2)  # two rows of tokens
    assert torch.allclose(net(images), net(swapped), atol=1e-5)


def test_a_run_starts_from_the_weights_of_another(folder, tmp_path):
    source = trained(RESNET, folder, PLAIN)
    state = weights(source)
    taught = started(RESNET, folder, PLAIN, name="next", initial=(state, "file"))
    assert same(taught.net.state_dict(), state)
    more = {"fc.weight": torch.zeros(7, 8), "fc.bias": torch.zeros(7)}
    other = started(RESNET, folder, PLAIN, name="next", initial=(state | more, "file"))
    assert torch.equal(other.net.state_dict()["conv1.0.weight"], state["conv1.0.weight"])
    assert other.net.num_classes == 2
    with pytest.raises(ValueError, match=r"file does not fit ResNet: it has conv1\.0\.weight of shape"):
        started(RESNET, folder, PLAIN, initial=(state | {"conv1.0.weight": torch.zeros(1)}, "file"))


def test_a_loss_that_is_no_number_is_refused_and_the_last_checkpoint_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0)
    recipe = PLAIN | {"learning_rate": 1e30, "warmup_epochs": 0}
    keeper = checkpoints.Keeper(tmp_path / "kept.pt")
    with pytest.raises(ValueError, match=r"loss of run steep is (nan|inf) in epoch 1, step 2 of 3"):
        started(VIT, folder, recipe, name="steep").run(3, keeper)
    assert checkpoints.load(tmp_path / "kept.pt")["step"] == 1


def test_a_folder_smaller_than_a_batch_is_refused(folder):
    with pytest.raises(ValueError, match="run short has 24 images, fewer than its batch_images: 64"):
        started(VIT, folder, PLAIN | {"batch_images": 64}, name="short")


def test_images_are_mixed_in_pairs(folder):
    with pytest.raises(ValueError, match="images of run odd are mixed in pairs"):
        started(VIT, folder, RICH | {"batch_images": 3}, name="odd")


def test_a_teacher_needs_a_distillation_token_to_teach(folder, teacher):
    with pytest.raises(ValueError, match="run short has a teacher, but VisionTransformer has no distill"):
        started(VIT, folder, PLAIN, name="short", teacher=teacher)


def test_a_teacher_knows_the_classes_of_its_student(folder, teacher):
    (folder / "c2").rename(folder / "c3")
    with pytest.raises(ValueError, match="learnt class 1 as 'c2', but the dataset has 'c3' there"):
        started(DISTILLED, folder, PLAIN, teacher=teacher)


def test_held_out_images_have_the_classes_of_the_training(folder, held_out):
    (folder / "c2").rename(folder / "c3")
    with pytest.raises(ValueError, match=r"learns the classes c10, c3, .* held-out images have c10, c2"):
        started(VIT, folder, PLAIN, held_out=held_out)


def test_exported_weights_tell_what_they_are(folder, held_out, tmp_path):
    run = trained(RESNET, folder, RICH, held_out=held_out)
    files = [tmp_path / name for name in ("w.safetensors", "w.json", "w.parquet")]
    exporting.export(run.checkpoint(), {"run": "run"}, *files)
    model = models.build(RESNET, files[0], ["c10", "c2"])
    assert same(model.net.state_dict(), weights(run))
    facts = json.loads(files[1].read_text())
    assert facts["classes"] == ["c10", "c2"] and facts["input_size"] == [32, 32]
    assert facts["mean"] == [0.485, 0.456, 0.406]
    assert facts["held_out_top1"] == run.metrics[-1]["held_out_top1"]
    assert facts["seconds"] == sum(row["seconds"] for row in run.metrics)
    metrics = pq.read_table(files[2])
    assert metrics["epoch"].to_pylist() == [1, 2, 3]
    assert metrics["held_out_images"].to_pylist() == [24, 24, 24]
    # the strip of untouched images says the same
    images = torch.from_numpy(held_out.read(0, 24)).float() / 255
    assert (model(images).argmax(1).numpy() == held_out.labels).mean() == facts["held_out_top1"]
