"""torchvision's networks as models of timm, against torchvision's own objects."""

import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from timm.models import vgg

from conftest import ROOT
from patchwork import fetching, hooks, models, provenance, tokens, torchvision_models
from patchwork.perturbations import feature_drop

# Those that the paper's run needs, and others that timm does not have.
LIKE_ITS_OWN = ["alexnet", "squeezenet1_1", "squeezenet1_0", "shufflenet_v2_x0_5", "googlenet"]
NAMED = {  # width of the features that it decides by, and of its stages
    "alexnet": (4096, [64, 192, 256]),
    "squeezenet1_1": (512, [64, 128, 256, 512]),
    "squeezenet1_0": (512, [96, 256, 512, 512]),
}
COUNTED = ["alexnet", "squeezenet1_1", "squeezenet1_0", "shufflenet_v2_x0_5", "googlenet", "vit_b_16"]
# torch cannot build a RegNet without memory.
SLOW = [name for name in torchvision_models.NAMES if not name.startswith("regnet") and name not in COUNTED]


def drawn(net):
    """Random weights for a network that has none."""
    draw, found = torch.Generator().manual_seed(0), {}
    for name, value in net.state_dict().items():
        if not value.is_floating_point():
            found[name] = torch.tensor(1)
        elif value.ndim < 2:
            found[name] = torch.rand(value.shape, generator=draw) + 0.1
        else:
            bound = (6 / value[0].numel()) ** 0.5
            found[name] = torch.empty(value.shape).uniform_(-bound, bound, generator=draw)
    return found


def theirs(name, **options):
    """torchvision's own network, every weight of which is random, in use as with its published weights."""
    given = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    with torch.device("meta"):
        net = torchvision.models.get_model(name, weights=None, **given | options)
    net.load_state_dict(drawn(net), assign=True)
    return net.eval().requires_grad_(False)


def adapted(name, net, **options):
    """A Model of ours with the weights of a network of torchvision's."""
    given = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        own = models.create({"timm": f"torchvision_{name}", "options": given | options})
    own.to_empty(device="cpu")
    models.fit(own, net.state_dict(), name)
    return models.Model(own.eval())


def pictures(images=2, size=96):
    return torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(1))


def normalised(images):
    return torchvision.transforms.functional.normalize(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("name", LIKE_ITS_OWN)
@torch.inference_mode()
def test_logits_are_those_of_torchvisions_own_network(name):
    net = theirs(name)
    model = adapted(name, net)
    assert model.size == (224, 224)
    expected = net(normalised(pictures(1, 224)))
    assert expected.std() > 1e-2
    assert torch.allclose(model(pictures(1, 224)), expected, rtol=1e-5, atol=1e-5 * expected.abs().max())
    model.size = (96, 96)
    assert torch.allclose(model(pictures()), net(normalised(pictures())), rtol=1e-5, atol=1e-4)
    head = model.net.forward_head(model.net.forward_features(model.prepare(pictures())))
    assert torch.equal(head, model(pictures()))


@pytest.mark.parametrize("name", [*COUNTED, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_names_shapes_and_counts_are_torchvisions(name):
    weights = torchvision.models.get_model_weights(name).DEFAULT
    same = {"image_size": 518} if name == "vit_h_14" else {}  # as torchvision builds it for these weights
    unset = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        net = models.create({"timm": f"torchvision_{name}", "options": unset})
        own = torchvision.models.get_model(name, weights=None, **same, **unset)
    assert {n: value.shape for n, value in net.state_dict().items()} == {
        n: value.shape for n, value in own.state_dict().items()
    }
    if name != "googlenet":  # the published number is without its two heads for training
        assert sum(value.numel() for value in net.parameters()) == weights.meta["num_params"]
    assert fetching.published({"timm": f"torchvision_{name}"}) == ("url", weights.url)
    last = net.get_submodule(net.pretrained_cfg["classifier"])
    assert last.weight.shape[:2] == (1000, net.num_features)


def test_what_torchvision_alone_can_load_is_left_out():
    left = {*torchvision.models.list_models(module=torchvision.models)} - {*torchvision_models.NAMES}
    assert {name.rstrip("0123456789_") for name in left} == {"densenet", "mnasnet"}
    with pytest.raises(ValueError, match=r"timm has no model 'torchvision_densenet121'"):
        models.create({"timm": "torchvision_densenet121"})


@pytest.mark.parametrize("name", NAMED)
@torch.inference_mode()
def test_features_are_what_the_last_layer_sees(name):
    net = theirs(name)
    model, (width, stages) = adapted(name, net), NAMED[name]
    model.size = (96, 96)
    images = normalised(pictures())
    maps = net.features(images)
    if name == "alexnet":
        expected = net.classifier[:-1](net.avgpool(maps).flatten(1))
        assert torch.allclose(net.classifier[-1](expected), model(pictures()), rtol=1e-5, atol=1e-5)
    else:
        expected = maps.mean((2, 3))  # of the map that the last convolution sees
    found = model.features(pictures())
    assert found.shape == (2, width) and found.std() > 1e-3
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)

    last, between = model.net.forward_intermediates(images)
    assert torch.allclose(model.before_head(last), expected, rtol=1e-5, atol=1e-5)
    assert [each.shape[1] for each in between] == stages
    assert torch.equal(between[-1], maps)
    facts = tokens.layout(model)
    assert facts["refused"] is None and facts["depth"] == len(stages)
    assert facts["parts"][facts["decides"]]["width"] == width


@pytest.mark.parametrize("name", NAMED)
@torch.inference_mode()
def test_places_of_its_stages_are_zeroed(name):
    net = theirs(name)
    model = adapted(name, net)
    model.size = (96, 96)
    places, whole, sizes = hooks.depth(model.net), model(pictures()), []
    assert places == len(NAMED[name][1])
    for place in range(1, places + 1):
        assert feature_drop.refuses(model, place, "zero_50") is None
        with hooks.zeroed(model, place, lambda n: sizes.append(n) or torch.arange(n)[None] % 2 > 0):
            assert not torch.allclose(model(pictures()), whole, atol=1e-4)
    assert sizes == sorted(sizes, reverse=True)
    last = net.features(normalised(pictures())).flatten(2)
    last[..., 1::2] = 0
    with hooks.zeroed(model, places, lambda n: torch.arange(n)[None] % 2 > 0):
        assert torch.allclose(model.net.features(normalised(pictures())).flatten(2), last, atol=1e-5)
    assert torch.equal(model(pictures()), whole)


@torch.inference_mode()
def test_what_it_does_not_have_is_refused():
    model = adapted("shufflenet_v2_x0_5", theirs("shufflenet_v2_x0_5"))
    assert "no stages of torchvision's ShuffleNetV2 are known" in tokens.layout(model)["refused"]
    assert "ShuffleNetV2 has 0 blocks or stages" in feature_drop.refuses(model, 1, "zero_50")
    assert model.features(pictures()).shape == (2, 1024)
    with pytest.raises(ValueError, match="ShuffleNetV2 has no class token"):
        model.tokens(pictures())
    with pytest.raises(ValueError, match="ShuffleNetV2 has no blocks with a ViT's attention"):
        model.attention(pictures())


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1"])
@torch.inference_mode()
def test_other_numbers_of_classes(name):
    entry, net = {"timm": f"torchvision_{name}"}, theirs(name, num_classes=7)
    assert adapted(name, net, num_classes=7)(pictures()).shape == (2, 7)
    with torch.device("meta"):
        usual, without = models.create(entry), models.create(entry, 0).eval()
    with pytest.raises(ValueError, match=r"for its 7 classes give the model `options: \{num_classes: 7\}`"):
        models.fit(usual, net.state_dict(), name)
    without.load_state_dict(net.state_dict(), assign=True, strict=False)
    assert without.num_classes == 0
    assert without(normalised(pictures())).shape == (2, NAMED[name][0])
    with pytest.raises(ValueError, match=r"'torchvision_\w+' refuses options .*'bogus'"):
        models.create(entry | {"options": {"bogus": 5}})
    with pytest.raises(ValueError, match=r"refuses options .*images have three channels"):
        models.create(entry | {"options": {"in_chans": 1}})


def test_programs_with_models_are_fingerprinted_with_them():
    root = ROOT / "scripts"
    _, imported = provenance.read(root / "patchwork/models.py", root)
    assert {root / f"patchwork/{name}.py" for name in ("torchvision_models", "vit_small_2020")} <= {*imported}


def test_who_only_weighs_downloads_knows_them_too():
    program = "from patchwork import fetching; print(*fetching.published({'timm': 'torchvision_alexnet'}))"
    asked = {"cwd": ROOT / "scripts", "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run([sys.executable, "-c", program], **asked)
    assert done.stdout == "url https://download.pytorch.org/models/alexnet-owt-7be5be79.pth\n", done.stderr


def test_published_weights_come_from_torchvisions_url_and_files_fit(tmp_path, monkeypatch):
    """Laid where torch keeps what it has downloaded, in place of the URL."""
    net = theirs("squeezenet1_1")
    torch.save(net.state_dict(), tmp_path / "w.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    (tmp_path / "torch/hub/checkpoints/squeezenet1_1-b8a52dc0.pth").write_bytes(
        (tmp_path / "w.pth").read_bytes()
    )
    entry = {"timm": "torchvision_squeezenet1_1"}
    for number, given in enumerate([entry, entry | {"weights": str(tmp_path / "w.pth")}]):
        fetching.fetch("squeezenet", given, tmp_path / f"{number}.safetensors")
        found = load_file(tmp_path / f"{number}.safetensors")
        assert found.keys() == net.state_dict().keys()
        assert all(torch.equal(found[name], value) for name, value in net.state_dict().items())
    few = {name: value for name, value in net.state_dict().items() if name != "classifier.1.bias"}
    torch.save(few | {"extra.weight": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"misses classifier\.1\.bias; it has extra\.weight too many"):
        fetching.fetch("squeezenet", given, tmp_path / "x.safetensors")


# ---- what timm has of torchvision's ----


@pytest.mark.parametrize("name", ["vgg19_bn", "densenet121", "resnet50"])
@torch.inference_mode()
def test_what_timm_has_of_torchvision_is_the_same(name):
    net = theirs(name)
    with torch.device("meta"):
        own = models.create({"timm": f"{name}.tv_in1k"})
    state = vgg._filter_fn(net.state_dict()) if name == "vgg19_bn" else net.state_dict()
    models.fit(own.to_empty(device="cpu"), state, name)
    model, images = models.Model(own.eval()), pictures(1, 224)
    expected = net(normalised(images))
    assert expected.std() > 1e-2
    assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())
