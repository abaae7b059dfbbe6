"""The attacks against foolbox and torchattacks, which others wrote, and against what they promise."""

from functools import partial

import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from patchwork import attacks, models
from patchwork.perturbations import apgd_ce, apgd_t, fgsm, pgd, pgd_random_start

foolbox = pytest.importorskip("foolbox")
torchattacks = pytest.importorskip("torchattacks")

SIDE, IMAGES = 32, 8
# Levels at which some of the images of `example` are turned and some hold.
BETWEEN = {"VisionTransformer": 4.5, "ResNet": 1.75}


def vit():
    options = {"img_size": SIDE, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, **options)


def cnn():
    return timm.create_model("test_resnet", num_classes=10)


@pytest.fixture(params=[vit, cnn], ids=["vit", "cnn"])
def model(request):
    torch.manual_seed(0)
    net = request.param()
    with torch.no_grad():
        net.get_classifier().weight.mul_(20)  # a network that learnt nothing is sure of nothing
    # In float64, so that the last digit of a sum does not decide the sign of a gradient.
    return models.Model(net, (SIDE, SIDE)).eval().requires_grad_(False).double()


def example(model, images=IMAGES):
    """Random images, their labels (what the model says, so that there is something to attack; the first is
    mislabelled), uniform numbers."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(images, 3, SIDE, SIDE, generator=draw, dtype=model.mean.dtype)
    labels = model(pixels).argmax(1)
    labels[0] = (labels[0] + 1) % 10
    return pixels, labels, torch.rand(images, 3 * SIDE * SIDE, generator=draw)


def difference(one, other):
    return (one - other).abs().max().item()


def right(model, images, labels):
    """How many images the model gets right."""
    return (model(images).argmax(1) == labels).sum().item()


# ---- against others ----


@pytest.mark.parametrize("level", [1, 8])
def test_fgsm_is_foolboxs(model, level):
    images, labels, _ = example(model)
    theirs = foolbox.attacks.FGSM()
    _, expected, _ = theirs(foolbox.PyTorchModel(model, (0, 1)), images, labels, epsilons=level / 255)
    assert difference(fgsm.apply(model, images, labels, level), expected) <= 1e-6


@pytest.mark.parametrize("level", [1, 8])
def test_pgd_is_foolboxs_and_torchattacks(model, level):
    images, labels, _ = example(model)
    ours = pgd.apply(model, images, labels, level, steps=10, step_share=0.3)
    theirs = foolbox.attacks.LinfPGD(rel_stepsize=0.3, steps=10, random_start=False)
    _, expected, _ = theirs(foolbox.PyTorchModel(model, (0, 1)), images, labels, epsilons=level / 255)
    assert difference(ours, expected) <= 1e-6
    other = torchattacks.PGD(model, eps=level / 255, alpha=0.3 * level / 255, steps=10, random_start=False)
    assert difference(ours, other(images, labels)) <= 1e-6


def test_pgd_from_a_random_start_is_foolboxs_from_the_same_start(model):
    images, labels, noise = example(model)
    ours = pgd_random_start.apply(model, images, labels, 8, noise.double(), steps=10, step_share=0.3)
    theirs = foolbox.attacks.LinfPGD(rel_stepsize=0.3, steps=10, random_start=True)
    start = images + 8 / 255 * (2 * noise - 1).view_as(images)
    theirs.get_random_start = lambda images, bound: type(images)(start)
    _, expected, _ = theirs(foolbox.PyTorchModel(model, (0, 1)), images, labels, epsilons=8 / 255)
    assert difference(ours, expected) <= 1e-6
    assert difference(ours, pgd.apply(model, images, labels, 8, steps=10, step_share=0.3)) > 1e-3


@pytest.fixture
def in_float64():
    """torchattacks keeps steps and losses in torch's default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def theirs_alone(attack, images, labels, noise, monkeypatch):
    """torchattacks' result, one image at a time, so that its random start can be that image's noise."""
    found = []
    for image, label, numbers in zip(images, labels, noise, strict=True):
        monkeypatch.setattr(torch, "rand", lambda shape, numbers=numbers: numbers.view(shape))
        found.append(attack(image[None], label[None]))
    return torch.cat(found)


@pytest.mark.parametrize("steps", [10, 40])
def test_apgd_ce_is_torchattacks(model, steps, monkeypatch, in_float64):
    images, labels, noise = example(model)
    level = BETWEEN[type(model.net).__name__]
    ours = apgd_ce.apply(model, images, labels, level, noise.double(), steps)
    theirs = torchattacks.APGD(model, eps=level / 255, steps=steps)
    assert difference(ours, theirs_alone(theirs, images, labels, noise, monkeypatch)) <= 1e-6
    assert torch.equal(ours[0], images[0])  # wrong anyway
    assert 0 < right(model, ours, labels) < IMAGES - 1


def test_apgd_t_is_torchattacks(model, monkeypatch, in_float64):
    images, labels, noise = example(model)
    level = BETWEEN[type(model.net).__name__]
    ours = apgd_t.apply(model, images, labels, level, noise.double(), steps=20, targets=4)
    theirs = torchattacks.APGDT(model, eps=level / 255, steps=20, n_classes=5)
    assert difference(ours, theirs_alone(theirs, images, labels, noise, monkeypatch)) <= 1e-6
    assert 0 < right(model, ours, labels) < IMAGES - 1


def test_a_run_of_apgd_climbs_as_torchattacks_does(model, monkeypatch, in_float64):
    """Also where an image holds, of which the attacks show nothing."""
    images, labels, noise = example(model)
    theirs = torchattacks.APGD(model, eps=1 / 255, steps=40)
    values = []

    def loss(logits):
        values.append(cross_entropy(logits, labels, reduction="none"))
        return values[-1]

    attacks.run(model, images, labels, 1 / 255, 40, noise, loss)
    best = torch.stack(values).amax(0)
    monkeypatch.setattr(torch, "rand", lambda shape: noise.view(shape))
    assert difference(best, theirs.attack_single_run(images, labels)[2]) <= 1e-9


# ---- what they promise ----

ATTACKS = {
    "fgsm": fgsm.apply,
    "pgd": partial(pgd.apply, **pgd.SETTINGS),
    "pgd_random_start": partial(pgd_random_start.apply, **pgd_random_start.SETTINGS),
    "apgd_ce": partial(apgd_ce.apply, steps=20),
    "apgd_t": partial(apgd_t.apply, steps=10, targets=3),
}


def run(name, model, images, labels, noise, level):
    """An attack by its name, given random numbers if it asks for them."""
    more = {"noise": noise} if "apgd" in name or "random" in name else {}
    return ATTACKS[name](model, images, labels, level, **more)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_image_is_attacked_alike_in_every_batch(model, name):
    """In float64 but for the last digits. In float32 these turn some signs, and with them a few values; what
    the model says of the images stays."""
    level = BETWEEN[type(model.net).__name__]
    for dtype, most in [(torch.float64, 0), (torch.float32, 0.01)]:
        images, labels, noise = example(model.to(dtype))
        whole = run(name, model, images, labels, noise, level)
        for size in (1, 3):
            rows = zip(*(part.split(size) for part in (images, labels, noise)), strict=True)
            parts = torch.cat([run(name, model, *row, level) for row in rows])
            assert ((whole - parts).abs() > 1e-6).double().mean() <= most
            assert torch.equal(model(whole).argmax(1), model(parts).argmax(1))


@pytest.mark.parametrize("name", ATTACKS)
def test_bounds_are_kept_and_used(model, name):
    images, labels, noise = example(model.float())
    for level in (1, 8, 255):
        found = run(name, model, images, labels, noise, level)
        assert found.min() >= 0 and found.max() <= 1
        assert difference(found, images) <= level / 255 + 1e-6
    found = run(name, model, images, labels, noise, 8)
    assert difference(found, images) == pytest.approx(8 / 255, abs=1e-6)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_untouched_image_takes_no_pass(name):
    images = torch.rand(2, 3, 8, 8)
    assert run(name, None, images, None, None, 0) is images


@pytest.mark.parametrize(
    "broken, told",
    [
        (lambda model, images, labels, bound: images + bound + 1 / 255, "by 1/255"),
        (lambda model, images, labels, bound: images - bound, "by 3/255"),
        (lambda model, images, labels, bound: images * torch.nan, "by nan/255"),
    ],
    ids=["bound", "range", "nan"],
)
def test_an_attack_that_breaks_its_bound_is_told(broken, told):
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(RuntimeError, match=f"^slip exceeds its bound of 3/255, or .*{told}"):
        attacks.attacked(broken, None, images, None, 3, "slip")


def test_pgd_takes_all_its_steps():
    """Also on images that are misclassified: the paper's PGD does not stop early."""
    net = Counted()
    images, labels = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2])
    pgd.apply(net, images, labels, 8, **pgd.SETTINGS)
    assert net.images == 3 * pgd.SETTINGS["steps"] == 15


class Counted(nn.Module):
    """Four classes by the mean colour; counts the images that it sees."""

    images = 0

    def forward(self, pixels):
        self.images += len(pixels)
        return torch.cat([pixels.mean((2, 3)), pixels.mean((1, 2, 3))[:, None]], 1)


def test_apgd_leaves_alone_what_is_wrong_anyway():
    net, images = Counted(), torch.rand(3, 3, 8, 8)
    wrong = (net(images).argmax(1) + 1) % 4
    net.images = 0
    assert torch.equal(apgd_ce.apply(net, images, wrong, 8, torch.rand(3, 192), 10), images)
    assert net.images == 3  # one look at each


def test_apgd_t_takes_the_wrong_classes_that_there_are(model):
    images, labels, noise = example(model)
    level = BETWEEN[type(model.net).__name__]
    nine, many = (apgd_t.apply(model, images, labels, level, noise, 5, targets) for targets in (9, 90))
    assert torch.equal(nine, many)


def test_apgd_t_refuses_models_of_few_classes():
    three, four = (models.Model(timm.create_model("test_resnet", num_classes=n)) for n in (3, 4))
    assert apgd_t.refuses(three, 8, None) == "ResNet tells 3 classes apart, the loss of APGD-T needs 4"
    assert apgd_t.refuses(three, 0, None) is None and apgd_t.refuses(four, 8, None) is None


# ---- a network that has learnt something ----


def stripes(images, seed):
    """Faint stripes in noise, in one of four directions: (float32 [N, 3, 16, 16], labels)."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % 4
    angle = labels[:, None, None] * torch.pi / 4
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    wave = torch.sin(1.5 * (x * angle.cos() + y * angle.sin()))
    noise = torch.rand(images, 3, 16, 16, generator=draw) - 0.5
    return (0.5 + 0.1 * wave[:, None] + 0.5 * noise).clamp(0, 1), labels


@pytest.fixture(scope="module")
def learnt():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)]
    net = nn.Sequential(*layers)
    net.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "input_size": (3, 16, 16)}
    model = models.Model(net)
    images, labels = stripes(512, seed=1)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("name", ATTACKS)
def test_accuracy_falls_and_never_rises_with_the_bound(learnt, name):
    images, labels = stripes(100, seed=2)
    noise = torch.rand(100, 768, generator=torch.Generator().manual_seed(0))
    levels = [0, 1, 2, 4, 8, 16]
    scores = [right(learnt, run(name, learnt, images, labels, noise, level), labels) for level in levels]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] >= 95 and scores[-1] <= 10


def test_stronger_attacks_find_more(learnt):
    images, labels = stripes(200, seed=3)
    noise = torch.rand(200, 768, generator=torch.Generator().manual_seed(0))
    score = {name: right(learnt, run(name, learnt, images, labels, noise, 6), labels) for name in ATTACKS}
    assert score["fgsm"] >= score["pgd"] >= score["apgd_ce"] and score["pgd"] >= score["apgd_t"], score
