"""AdaIN against numbers computed by hand, decoders against the public one, and training."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from patchwork import adain, checkpoints, fetching, models

PUBLIC = {  # shapes of the weights in decoder.pth of naoto0804/pytorch-AdaIN, by the number of the module
    1: (256, 512),
    5: (256, 256),
    8: (256, 256),
    11: (256, 256),
    14: (128, 256),
    18: (128, 128),
    21: (64, 128),
    25: (64, 64),
    28: (3, 64),
}
VGG = {
    "vgg19.tv_in1k": ["features.1", "features.6", "features.11", "features.20"],
    "vgg_normalised": ["3", "10", "17", "30"],
}


def encoder(name="test_resnet", layers=("act1", "layer1"), size=(32, 32), **options):
    torch.manual_seed(0)
    net = models.create({"timm": name, "options": options})
    return adain.Encoder(models.Model(net, size).eval().requires_grad_(False), list(layers))


@pytest.fixture(scope="module")
def small():
    return encoder()


def batches(steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    patches = [torch.rand(2, 3, 2, 2, generator=generator) for _ in range(steps)]
    return [nn.functional.interpolate(patch, (32, 32)) for patch in patches]


def test_statistics_are_those_of_numpy():
    features = np.random.default_rng(0).normal(3, 2, (2, 4, 5, 6)).astype(np.float32)
    mean, deviation = adain.statistics(torch.from_numpy(features))
    flat = features.astype(np.float64).reshape(2, 4, -1)
    assert np.allclose(mean[..., 0, 0], flat.mean(2), rtol=1e-5)
    assert np.allclose(deviation[..., 0, 0], flat.std(2, ddof=1), rtol=1e-4)


def test_adapted_features_have_the_statistics_of_the_style_and_the_order_of_the_content():
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(2, 3, 8, 8, generator=generator)
    style = 5 + 4 * torch.randn(2, 3, 6, 10, generator=generator)
    found = adain.adapt(content, *adain.statistics(style))
    for own, wanted in zip(adain.statistics(found), adain.statistics(style), strict=True):
        assert torch.allclose(own, wanted, rtol=1e-3)
    assert (found.flatten(2).argsort() == content.flatten(2).argsort()).all()


def test_a_pair_of_pixels_by_hand():
    content, style = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[10.0, 16.0]]]])
    for alpha, wanted in ((1, [10.0, 16.0]), (0, [0.0, 2.0]), (0.5, [5.0, 9.0])):
        found = adain.adapt(content, *adain.statistics(style), alpha)
        assert found.flatten().tolist() == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("name", VGG)
def test_the_decoder_of_vgg_is_the_public_one(name):
    found = encoder(name, VGG[name], (32, 32))
    assert (found.channels, found.strides) == ([64, 128, 256, 512], [1, 2, 4, 8])
    net = adain.decoder(found)
    shapes = {f"{i}.weight": (*channels, 3, 3) for i, channels in PUBLIC.items()}
    shapes |= {f"{i}.bias": channels[:1] for i, channels in PUBLIC.items()}
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == shapes
    assert [i for i, part in enumerate(net) if isinstance(part, nn.Upsample)] == [3, 16, 23]
    assert [i for i, part in enumerate(net) if isinstance(part, nn.ReflectionPad2d)] == [
        i - 1 for i in PUBLIC
    ]


def test_vgg_layers_are_what_the_bare_modules_give():
    net = models.create({"timm": "vgg_normalised"}).eval()
    found = adain.Encoder(models.Model(net, (32, 32)), VGG["vgg_normalised"])
    pixels, net = torch.rand(1, 3, 32, 32), nn.Sequential(*net)
    with torch.no_grad():
        bare = [net[:4](pixels), net[:11](pixels), net[:18](pixels), net[:31](pixels)]
        assert all(torch.equal(a, b) for a, b in zip(found(pixels), bare, strict=True))


def test_public_checkpoints_become_a_model_and_a_decoder(tmp_path):
    torch.manual_seed(1)
    entry = {"timm": "vgg_normalised", "weights": str(tmp_path / "vgg_normalised.pth")}
    net = models.create(entry)
    assert len(net) == 53 and list(net.state_dict())[:3] == ["0.weight", "0.bias", "2.weight"]
    torch.save(net.state_dict(), entry["weights"])
    entry["sha256"] = hashlib.sha256((tmp_path / "vgg_normalised.pth").read_bytes()).hexdigest()
    fetching.fetch("encoder", entry, tmp_path / "vgg.safetensors")
    found = adain.Encoder(models.build(entry, tmp_path / "vgg.safetensors"), VGG["vgg_normalised"])
    random = adain.decoder(found)
    nn.init.normal_(random[-1].weight)  # a new one draws grey
    torch.save(random.state_dict(), tmp_path / "decoder.pth")
    net = adain.decoder(found, str(tmp_path / "decoder.pth"))
    features = torch.rand(1, 512, 4, 4)
    with torch.no_grad():
        assert net(features).shape == (1, 3, 32, 32) and torch.equal(net(features), random(features))


def test_a_decoder_of_another_encoder_is_refused(tmp_path, small):
    net = adain.decoder(encoder(layers=["act1", "layer1", "layer2"]))
    models.save(tmp_path / "other.safetensors", net.state_dict())
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit Sequential"):
        adain.decoder(small, tmp_path / "other.safetensors")


@pytest.mark.parametrize("layers", [["act1"], ["act1", "layer1"], ["layer1", "layer2"], ["layer3"]])
def test_a_decoder_gives_back_the_size_of_the_image(layers):
    found = encoder(layers=layers)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert adain.decoder(found)(found(pixels)[-1]).shape == pixels.shape


def test_features_do_not_change_when_more_is_computed(small):
    pixels, more = torch.rand(2, 3, 32, 32), encoder(layers=["conv1", "bn1", "act1", "layer1", "layer2"])
    assert torch.equal(small(pixels)[1], more(pixels)[3])
    assert more(pixels)[1].min() < 0  # an activation that works in place would have cut it off


def test_layers_that_are_none_are_named(small):
    with pytest.raises(ValueError, match=r"ResNet has no layer 'layer9'; its layers are conv1, .*layer1"):
        encoder(layers=["layer9"])
    with pytest.raises(ValueError, match="no maps of features after each of fc"):
        encoder(layers=["fc"])
    with pytest.raises(ValueError, match="from the first to the last"):
        encoder(layers=["layer2", "layer1"])


def test_images_that_the_stride_does_not_divide_are_refused(small):
    with pytest.raises(ValueError, match=r"shrinks images by \d: pixels\.crop, 30, must be a multiple"):
        small(torch.rand(1, 3, 30, 30))


def test_a_new_decoder_draws_nearly_grey(small):
    with torch.no_grad():
        drawn = adain.decoder(small)(torch.randn(1, small.channels[-1], 8, 8))
    assert 0 < (drawn - 0.5).abs().max() < 0.1


def test_losses_by_hand(small):
    content, style = batches(2)
    net = adain.decoder(small)
    nn.init.normal_(net[-1].weight)
    with torch.no_grad():
        target = adain.adapt(small(content)[-1], *adain.statistics(small(style)[-1]))
        found, wanted = small(net(target)), small(style)
        by_content = ((found[-1] - target) ** 2).mean()
        by_style = sum(
            ((a.mean((2, 3)) - b.mean((2, 3))) ** 2).mean()
            + (((a.var((2, 3)) + 1e-5).sqrt() - (b.var((2, 3)) + 1e-5).sqrt()) ** 2).mean()
            for a, b in zip(found, wanted, strict=True)
        )
        losses = adain.losses(small, net, content, style)
    assert [each.item() for each in losses] == pytest.approx([by_content.item(), by_style.item()], rel=1e-4)


def train(small, steps=8, keeper=None, **changes):
    entry = {"steps": steps, "batch_images": 2, "learning_rate": 1e-3, "style_weight": 1.0} | changes
    both = [*zip(batches(steps), batches(steps, 1), strict=True)]
    return adain.train(small, "adain", entry, lambda first: both[first - 1 :], keeper, "digest")


@pytest.mark.parametrize("stop", [1, 5, 7])
def test_a_training_that_was_killed_ends_with_the_same_bits(small, tmp_path, monkeypatch, stop):
    expected, losses = train(small)
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0)

    class Killed(checkpoints.Keeper):
        def offer(self, checkpoint):
            super().offer(checkpoint)
            if checkpoint()["step"] == stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small, keeper=Killed(tmp_path / "kept.pt"))
    found, told = train(small, keeper=checkpoints.Keeper(tmp_path / "kept.pt"))
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), found.parameters(), strict=True))
    assert told == losses


def test_training_gives_the_same_bits_again_and_lowers_the_losses(small):
    (net, told), (again, _) = train(small), train(small)
    first = train(small, 1)[1]
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    later = train(small, 60, learning_rate=1e-2)[1]
    assert sum(later.values()) < 0.7 * sum(first.values())
    assert set(told) == {"content_loss", "style_loss"}


def test_a_loss_that_is_no_number_stops_in_one_line(small):
    entry = {"steps": 4, "batch_images": 2, "learning_rate": 1e-3, "style_weight": 1.0}
    broken = [*batches(2), torch.full((2, 3, 32, 32), torch.nan), *batches(1)]
    with pytest.raises(ValueError, match="stylizer adain is no number any more in step 3 of 4: try a lower"):
        adain.train(small, "adain", entry, lambda first: zip(broken, batches(4, 1), strict=True))
