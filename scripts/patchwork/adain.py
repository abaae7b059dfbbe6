"""Adaptive instance normalization: the content of one image in the style of another.

Source: Huang & Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization" (ICCV
2017). An encoder, which learnt to classify, is kept as it is. The channels of its features of the content
take the means and standard deviations of those of the style, and a decoder, which alone is trained here,
draws an image from them.
"""

import itertools
import logging
import time

import torch
from timm.models import create_feature_extractor  # torchvision's, told which modules cannot be traced
from torch import nn
from torch.nn.functional import mse_loss

from patchwork import fetching, jobs, models, noise

log = logging.getLogger(__name__)

EPSILON = 1e-5  # added to variances, as by the authors: decoders have been trained with it
# Of the last weights at first: noise would have to be unlearnt, and where grey is the mean of an encoder, its
# ReLU has no gradient.
NEARLY_GREY = 1e-3
LOGGED = 20  # lines in the log of a training


def statistics(features):
    """Means and standard deviations of channels: two [N, C, 1, 1] of features [N, C, H, W]."""
    variance, mean = torch.var_mean(features, (2, 3), keepdim=True)
    return mean, (variance + EPSILON).sqrt()


def adapt(content, mean, deviation, alpha=1.0):
    """Features of contents, [N, C, H, W], with the statistics of styles, [N, C, 1, 1] each.

    alpha: how far the way from the content (0) to the style (1) they go.
    """
    own_mean, own_deviation = statistics(content)
    return torch.lerp(content, (content - own_mean) / own_deviation * deviation + mean, alpha)


class Encoder(nn.Module):
    """Pixels, float [N, 3, H, W] in [0, 1], to features after some layers of a CNN, a list of [N, C, h, w].

    model: models.Model in its place; images are normalised as it wants, and keep their size. layers: names of
    its modules, from the first to the last; what comes after that is not computed.
    `channels` and `strides` are those of the layers, `convolutions` how many there are on the way to each
    from the one before (not counting 1x1 ones).
    Raises ValueError for a name that is none, for a network that has no maps of features there, and for
    images that the last stride does not divide: a decoder would give them back smaller.
    """

    def __init__(self, model, layers):
        super().__init__()
        name = type(model.net).__name__
        known = [path for path, _ in model.net.named_modules() if path]
        if strange := [layer for layer in layers if layer not in known]:
            places = ", ".join(known[:40]) + ", ..." * (len(known) > 40)
            raise ValueError(f"{name} has no layer {strange[0]!r}; its layers are {places}")
        for module in model.net.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # or the features of the layer before would be overwritten
        self.model, self.strides = model, [1]
        self.extract = create_feature_extractor(model.net, layers)
        probe = torch.zeros(1, 3, *model.size, device=model.mean.device)
        with torch.no_grad():
            found = self(probe)
        if any(map_.ndim != 4 or map_.shape[-1] > probe.shape[-1] for map_ in found):
            raise ValueError(f"{name} has no maps of features after each of {', '.join(layers)}")
        self.channels = [map_.shape[1] for map_ in found]
        self.strides = [round(probe.shape[-1] / map_.shape[-1]) for map_ in found]
        if [*self.last_nodes()] != layers:  # they come in the order of the network
            raise ValueError(f"{', '.join(layers)}: name the layers of {name} from the first to the last")
        self.convolutions = self.count(layers)

    def count(self, layers):
        """Convolutions that see more than one pixel, up to each layer from the one before."""
        counts, passed, modules = [0] * len(layers), [], dict(self.extract.named_modules())
        ends = self.last_nodes()
        for node in self.extract.graph.nodes:
            if node.op == "call_module":
                module = modules[node.target]
                spatial = isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1
                counts[min(len(passed), len(layers) - 1)] += spatial
            passed += [layer for layer, end in ends.items() if end is node]
        return counts

    def last_nodes(self):
        """The nodes of the graph that give the features, by the layer."""
        return next(node for node in self.extract.graph.nodes if node.op == "output").args[0]

    def forward(self, pixels):
        if any(side % self.strides[-1] for side in pixels.shape[-2:]):
            raise ValueError(
                f"the encoder shrinks images by {self.strides[-1]}: pixels.crop, {pixels.shape[-1]}, must be "
                "a multiple of that"
            )
        normalised = (pixels - self.model.mean) / self.model.std
        return [*self.extract(normalised.contiguous(memory_format=self.model.layout)).values()]


def mirror(channels, strides, convolutions):
    """A decoder with random weights: [N, channels[-1], h, w] to images [N, 3, h x strides[-1], ...].

    It mirrors the encoder: as many convolutions between layers, of as many channels, upsampling where the
    encoder downsamples. Reflection padding, ReLU, nearest upsampling, no normalisation, as in the paper. For
    VGG-19 up to relu4_1 it is the decoder of the authors, module by module.
    """

    def convolution(before, after):
        return [nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3), nn.ReLU()]

    parts = []
    pairs = [*itertools.pairwise(zip(channels, strides, convolutions, strict=True))]
    for (after, stride, _), (before, further, count) in reversed(pairs):
        parts += convolution(before, after)
        if further > stride:
            parts.append(nn.Upsample(scale_factor=further // stride, mode="nearest"))
        for _ in range(count - 1):
            parts += convolution(after, after)
    if strides[0] > 1:
        parts += convolution(channels[0], channels[0])
        parts.append(nn.Upsample(scale_factor=strides[0], mode="nearest"))
    for _ in range(convolutions[0] - 1):
        parts += convolution(channels[0], channels[0])
    return nn.Sequential(*parts, *convolution(channels[0], 3)[:-1])


def decoder(encoder, path=None):
    """The decoder that fits an encoder, with random weights or those of a file, .safetensors or .pth, of
    anybody's. Raises ValueError for a file that does not fit or holds code."""
    net = mirror(encoder.channels, encoder.strides, encoder.convolutions)
    for module in net:
        if isinstance(module, nn.Conv2d):  # torch's own weights are so small that nothing is seen at first
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    nn.init.normal_(net[-1].weight, std=NEARLY_GREY)
    nn.init.constant_(net[-1].bias, 0.5)
    if path:
        models.fit(net, fetching.read_checkpoint(path, net), path)
    return net.to(encoder.model.mean.device, memory_format=encoder.model.layout)


def losses(encoder, net, contents, styles):
    """The two losses of the paper, of a batch: how far the features of the image that is drawn are from those
    that it was drawn from, and their means and deviations in all layers from those of the style."""
    with torch.no_grad():
        wanted = encoder(styles)
        target = adapt(encoder(contents)[-1], *statistics(wanted[-1]))
    found = encoder(net(target))
    style = sum(
        mse_loss(a, b)
        for own, other in zip(found, wanted, strict=True)
        for a, b in zip(statistics(own), statistics(other), strict=True)
    )
    return mse_loss(found[-1], target), style


def train(encoder, name, entry, batches, keeper=None, origin=""):
    """Train a decoder from nothing: the decoder, and how it went, a dict of numbers.

    name: the stylizer's, from which its first weights are drawn. entry: {steps, batch_images,
    learning_rate, style_weight}. batches: a function of a step, from 1, that yields the (contents, styles)
    of this step and of all that follow, float [N, 3, H, W] in [0, 1] on the device of the encoder. The
    learning rate falls along half a cosine. keeper: checkpoints.Keeper, offered a checkpoint after each
    step; what a job of the same origin (a digest) has left there is gone on with. Raises ValueError when
    the loss is no number any more.
    """
    torch.manual_seed(noise.key(0, name, "", "decoder"))
    net, steps, told = decoder(encoder), entry["steps"], {}
    optimizer = torch.optim.Adam(net.parameters(), entry["learning_rate"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    learning = {"net": net, "optimizer": optimizer, "schedule": schedule}
    sums, since, done, start = torch.zeros(2), 0, 0, time.monotonic()
    if keeper and (found := keeper.found(origin)):
        sums, since, done = found["sums"], found["since"], found["step"]
        for key, part in learning.items():
            part.load_state_dict(found[key])
    first = done + 1
    with jobs.progress(total=steps, initial=done, desc=name, unit="step") as bar:
        for step, (contents, styles) in enumerate(batches(first), first):
            content, style = losses(encoder, net, contents, styles)
            both = torch.stack([content.detach(), style.detach()]).cpu()
            if not both.isfinite().all():
                raise ValueError(
                    f"the loss of stylizer {name} is no number any more in step {step} of {steps}: "
                    "try a lower learning_rate"
                )
            optimizer.zero_grad()
            (content + entry["style_weight"] * style).backward()
            optimizer.step()
            schedule.step()
            sums, since = sums + both, since + 1
            bar.update()
            if step % max(1, steps // LOGGED) == 0 or step == steps:
                told = dict(zip(("content_loss", "style_loss"), (sums / since).tolist(), strict=True))
                rate = (step - done) * entry["batch_images"] / (time.monotonic() - start)
                log.info(f"{name} step {step} of {steps}: {words(told)}, {rate:.0f} images/s")
                bar.set_postfix_str(words(told), refresh=False)
                sums, since = torch.zeros(2), 0
            if keeper and step < steps:
                now = {"origin": origin, "sums": sums, "since": since, "step": step}
                keeper.offer(lambda now=now: now | {key: part.state_dict() for key, part in learning.items()})
    return net, told


def words(losses):
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in losses.items())
