"""Self-distillation: the loss and the averages written out, crops of any size, going on bit for bit."""

import copy
import io
import math
import pickle
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from conftest import ROOT
from patchwork import dino, models, saliency
from test_models import pictures

ENTRY = {
    "timm": "vit_tiny_patch16_224",
    "options": {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
}
SETTINGS = {"out_dim": 16, "hidden_dim": 12, "bottleneck_dim": 8, "local_crops": 2, "local_size": 16}
EPOCHS, EPOCH_STEPS = 2, 3


def task(seed=0, **settings):
    torch.manual_seed(seed)
    net = dino.backbone(ENTRY)
    return dino.DinoTask(net, SETTINGS | settings, (32, 32), EPOCHS, EPOCH_STEPS)


def views(step, images=4):
    """Made-up views of a batch: two of 32 pixels, two of 16."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(images, 3, size, size, generator=generator) for size in (32, 32, 16, 16)]


def optimizer_of(trained):
    return torch.optim.AdamW(trained.get_trainable_module().parameters(), lr=0.01)


def plain_descent(trained):
    """Adam would divide by the size of gradients and enlarge what rounding does to those that should be 0."""
    return torch.optim.SGD(trained.get_trainable_module().parameters(), lr=1.0)


def train(trained, optimizer, steps):
    """As a training loop does; the losses."""
    losses = []
    for step in steps:
        loss = trained(views(step), None)["loss"]
        optimizer.zero_grad()
        loss.backward()
        trained.before_step()
        optimizer.step()
        trained.update_ema()
        losses.append(loss.item())
    return losses


def softmax(values, temperature):
    powers = np.exp((values - values.max()) / temperature)
    return powers / powers.sum()


@torch.no_grad()
def outputs(branch, batch):
    """float64 [views, images, outputs], a picture at a time."""
    return np.array(
        [[branch.head(branch.backbone(image[None]))[0].tolist() for image in view] for view in batch]
    )


def test_the_loss_is_the_cross_entropy_of_all_pairs_of_different_views():
    trained = task(teacher_temperature=0.07, first_teacher_temperature=0.04, warmup_epochs=2)
    train(trained, optimizer_of(trained), range(3))  # so that the two differ, and the centre is not 0
    batch, center = views(9), trained.criterion.center.flatten().numpy().astype(float)
    assert np.abs(center).max() > 1e-4
    taught, learnt = outputs(trained.teacher, batch[:2]), outputs(trained.student, batch)
    assert np.abs(taught - learnt[:2]).max() > 1e-3
    terms = [
        -(softmax(taught[t, image] - center, 0.055) * np.log(softmax(learnt[s, image], 0.1))).sum()
        for t in range(2)
        for s in range(4)
        if s != t
        for image in range(4)
    ]
    assert trained(batch)["loss"].item() == pytest.approx(np.mean(terms), abs=1e-5)
    moved = 0.9 * center + 0.1 * taught.mean((0, 1))
    assert trained.criterion.center.flatten().tolist() == pytest.approx(moved.tolist(), abs=1e-6)


def test_the_temperature_of_the_teacher_rises_in_a_straight_line():
    trained = task(teacher_temperature=0.07, first_teacher_temperature=0.04, warmup_epochs=1)
    found = [trained.teacher_temperature(step) for step in range(5)]
    assert found == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07])
    assert task().teacher_temperature(0) == dino.DEFAULTS["teacher_temperature"]


def test_the_teacher_is_a_moving_average_whose_momentum_rises_to_one():
    trained = task(momentum=0.8)
    optimizer, steps = optimizer_of(trained), EPOCHS * EPOCH_STEPS
    assert all(map(torch.equal, trained.teacher.parameters(), trained.student.parameters()))
    for step in range(steps):
        before = [value.double() for value in trained.teacher.parameters()]
        train(trained, optimizer, [step])
        momentum = 1 - 0.2 * (math.cos(math.pi * step / (steps - 1)) + 1) / 2
        for old, new, student in zip(
            before, trained.teacher.parameters(), trained.student.parameters(), strict=True
        ):
            assert torch.allclose(new.double(), momentum * old + (1 - momentum) * student, atol=1e-7)
            assert not new.requires_grad
    assert momentum == 1 and all(map(torch.equal, before, [p.double() for p in trained.teacher.parameters()]))


def test_the_last_layer_does_not_learn_in_the_first_epoch():
    trained = task()
    optimizer = optimizer_of(trained)
    last, hidden = trained.student.head.last_layer.weight_v, trained.student.head.layers[0].weight
    first = last.clone(), hidden.clone()
    train(trained, optimizer, range(EPOCH_STEPS))
    assert torch.equal(last, first[0]) and not torch.equal(hidden, first[1])
    train(trained, optimizer, [EPOCH_STEPS])
    assert not torch.equal(last, first[0])


def test_small_crops_take_the_interpolated_positions():
    """The network that is cut for 16 pixels, with the positions of the large one made smaller."""
    net = dino.backbone(ENTRY).eval()
    torch.nn.init.normal_(net.pos_embed)
    small = models.create(ENTRY | {"options": ENTRY["options"] | {"img_size": 16}}, 0).eval()
    state = net.state_dict()
    positions = state["pos_embed"][:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    positions = interpolate(positions, (2, 2), mode="bicubic", antialias=True).flatten(2).mT
    small.load_state_dict(state | {"pos_embed": torch.cat([state["pos_embed"][:, :1], positions], 1)})
    crops = pictures(3, 16)
    assert torch.allclose(net(crops), small(crops), atol=1e-5)


def test_only_vision_transformers_can_be_trained():
    with pytest.raises(ValueError, match=r"'resnet10t' refuses options .*dynamic_img_size"):
        dino.backbone({"timm": "resnet10t"})


def test_settings_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="local_crop is no setting of DINO, did you mean 'local_crops'"):
        task(local_crop=2)
    with pytest.raises(ValueError, match=r"local_size must be a multiple of the patches' 8x8 pixels"):
        task(local_size=20)


def test_drop_path_is_for_the_student():
    torch.manual_seed(0)
    net = dino.backbone(ENTRY | {"options": ENTRY["options"] | {"drop_path_rate": 0.5}})
    trained = dino.DinoTask(net, SETTINGS, (32, 32), EPOCHS, EPOCH_STEPS)
    batch = views(0)
    same = [torch.equal(branch(batch), branch(batch)) for branch in (trained.teacher, trained.student)]
    assert same == [True, False]


def test_features_in_a_narrow_head_are_as_large_as_in_the_authors():
    """The variance of a sum of `inputs` products with weights of standard deviation 0.02."""
    torch.manual_seed(0)
    net = dino.backbone(ENTRY)
    narrow = dino.Branch(net, dino.DEFAULTS | {"hidden_dim": 64, "bottleneck_dim": 512, "out_dim": 8})
    layers = [layer for layer in narrow.head.layers if isinstance(layer, torch.nn.Linear)]
    found = [layer.in_features * layer.weight.var().item() for layer in layers]
    assert found == pytest.approx([0.02**2 * inputs for inputs in (384, 2048, 2048)], rel=0.1)


# ---- views ----


def photograph():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC)


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def test_views_are_two_large_crops_and_small_ones_that_the_seed_tells():
    made, other = pickle.loads(pickle.dumps(task().views)), task(3).views  # as a loader's workers get them
    seed(1)
    first = made(photograph())
    assert [tuple(view.shape) for view in first] == [(3, 32, 32)] * 2 + [(3, 16, 16)] * 2
    assert {view.dtype for view in first} == {torch.float32}
    seed(1)
    assert all(map(torch.equal, first, other(photograph())))
    seed(2)
    assert not any(map(torch.equal, first, made(photograph())))


def test_views_are_normalised_as_the_network_wants_them():
    grey = Image.new("RGB", (32, 32), (128, 128, 128))
    trained = task()
    facts = trained.student.backbone.pretrained_cfg
    expected = (128 / 255 - torch.tensor(facts["mean"])) / torch.tensor(facts["std"])
    seed(0)
    seen = [trained.views(grey)[-1].mean((1, 2)) for _ in range(20)]
    assert any(torch.allclose(view, expected, atol=1e-5) for view in seen)  # some are not jittered


def test_views_are_the_recipe_of_the_authors():
    """Their DataAugmentationDINO, whose numbers are the defaults."""
    [crop, flip, *_], jitters = task().views.transforms[0].transform.transforms, []
    assert (crop.scale, crop.size, flip.p) == ((0.4, 1.0), (32, 32), 0.5)
    for transform in task().views.transforms:
        [random_jitter] = [part for part in transform.transform.transforms if hasattr(part, "transforms")]
        [jitter] = random_jitter.transforms
        jitters.append(random_jitter.p)
        spans = jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue
        assert spans == tuple(map(pytest.approx, [(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]))
    assert jitters == [0.8] * 4
    [one] = task(jitter=[0, 0, 0, 0.5], local_crops=0).views.transforms[1:]
    [jitter] = next(part for part in one.transform.transforms if hasattr(part, "transforms")).transforms
    assert jitter.brightness is None and jitter.hue == (-0.5, 0.5)


# ---- states ----


def test_training_goes_on_bit_for_bit():
    whole = task()
    optimizer = optimizer_of(whole)
    expected = train(whole, optimizer, range(6))
    first = task()
    optimizer = optimizer_of(first)
    losses = train(first, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"task": first.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved, second = torch.load(file, weights_only=True), task(seed=7)
    second.load_state_dict(saved["task"])
    optimizer = optimizer_of(second)
    optimizer.load_state_dict(saved["optimizer"])
    assert losses + train(second, optimizer, range(3, 6)) == expected
    states = whole.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_is_exported_is_the_teacher_as_a_plain_network(tmp_path):
    trained = task()
    train(trained, optimizer_of(trained), range(2))
    models.save(tmp_path / "dino.safetensors", trained.get_checkpoint_state()["state_dict"], classes=[])
    model = models.build(ENTRY, tmp_path / "dino.safetensors")
    images = pictures(3, 32)
    teacher, student = trained.teacher.backbone, copy.deepcopy(trained.student.backbone).eval()
    assert model.net.num_classes == 0 and not model.net.dynamic_img_size
    with torch.no_grad():
        assert torch.allclose(model(images), teacher(model.prepare(images)), atol=1e-6)
        assert not torch.allclose(model(images), student(model.prepare(images)), atol=1e-6)
    assert saliency.mass(model, images, "mean").shape == (3, 4, 4)
    with pytest.raises(ValueError, match="learnt no classes"):
        models.build(ENTRY, tmp_path / "dino.safetensors", ["cat", "dog"])


RANK = """
import sys
sys.path[:0] = [sys.argv[1] + "/scripts", sys.argv[1] + "/tests"]
import torch
from test_dino import plain_descent, task, train, views
import test_dino
torch.set_num_threads(1)
rank, folder = int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
trained = task().prepare_distributed()
test_dino.views = lambda step: [view[2 * rank : 2 * rank + 2] for view in views(step)]  # half of the batch
train(trained, plain_descent(trained), range(4))
torch.save(trained.state_dict(), f"{folder}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_two_processes_learn_what_one_does_of_the_whole_batch(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(RANK), str(ROOT)]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=120) for process in ranks] == [0, 0]
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone, first = task(), task().state_dict()
    train(alone, plain_descent(alone), range(4))
    assert (
        alone.state_dict()["teacher.backbone.pos_embed"] - first["teacher.backbone.pos_embed"]
    ).abs().max() > 1e-4
    assert one.keys() == other.keys() == alone.state_dict().keys()
    for name, value in alone.state_dict().items():
        assert torch.equal(one[name], other[name])
        assert torch.allclose(one[name].double(), value.double(), atol=1e-5), name
