"""Any timm model as a function of pixels in [0, 1]: it resizes and normalises inside."""

import contextlib
import copy
import difflib
import hashlib
import json
import logging
import math
import os

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import interpolate

from patchwork import (
    files,
    folders,
    hooks,
    without_compiler,  # noqa: F401 - before anything imports timm
)

NO_FEATURES = "{} has no one vector of features before its head"


class Model(nn.Module):
    """float [N, 3, H, W] in [0, 1] -> logits [N, classes].

    Images of another size than `size` are resized (bicubic, anti-aliased) and every image is normalised
    with the statistics the weights were trained with, so nothing outside can use the wrong ones.
    `origin` is all that decides its logits but code, `layout` the memory layout that it likes, `grid` the
    (rows, columns) of tokens that it cuts images into, None for a network that does not. Of a distilled
    network, `head` is the one that decides: that of the class token, of the shape token, or the mean of both.
    `members`, the outputs of the network that make up each category, turns its logits into those of `pooled`.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, net, size=None, head=None, members=None):
        super().__init__()
        self.head, self.counts = head, [len(each) for each in members or ()]
        outputs = torch.tensor([output for each in members or () for output in each], dtype=torch.int64)
        self.register_buffer("outputs", outputs, persistent=False)
        facts = net.pretrained_cfg
        embedding = getattr(net, "patch_embed", getattr(net, "pixel_embed", None))  # TNT has the latter
        fixed = getattr(embedding, "img_size", None)
        self.net, self.layout, self.origin = net, torch.contiguous_format, {}
        self.grid = getattr(embedding, "grid_size", None)
        self.size = tuple(size or fixed or facts["input_size"][-2:])
        self.register_buffer("mean", torch.tensor(facts["mean"]).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(facts["std"]).view(1, -1, 1, 1), persistent=False)

    def prepare(self, pixels):
        """Pixels as the network wants them: resized, normalised, in its memory layout."""
        if pixels.shape[-2:] != self.size:
            pixels = interpolate(pixels, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        # In this order: arithmetic on three channels is three times slower in the layout of a CNN.
        return (pixels - self.mean).div_(self.std).contiguous(memory_format=self.layout)

    def forward(self, pixels):
        return self.named(decide(self.net, self.prepare(pixels), self.head))

    def named(self, logits):
        """The logits of what the dataset tells apart: of the categories, where classes make some up."""
        return pooled(logits, self.outputs, self.counts) if self.counts else logits

    def answer(self, tokens):
        """The logits that the head makes of the tokens of any block after the last norm: float [N, classes].

        tokens: float [N, tokens, width], class token first. A head that looks at the class token alone (that
        of a distilled network at the second one, too) needs no others.
        """
        net = self.net
        if self.head == "class":
            return self.named(net.head(tokens[:, 0]))
        if self.head == "shape":
            return self.named(net.head_dist(tokens[:, 1]))
        return self.named(net.forward_head(tokens))

    def features(self, pixels):
        """The features that the network decides by, as its head sees them: float [N, width].

        The class token after the last norm, or, where the head does not look at it, what it pools: all
        places of a CNN, the patch tokens of Swin or of a BEiT that averages them. Of a distilled network
        the class token, the shape token if that decides (`head`).
        Raises ValueError for a network whose head sees no such vector.
        """
        if not hasattr(self.net, "forward_head"):
            raise ValueError(NO_FEATURES.format(type(self.net).__name__))
        return self.before_head(self.net.forward_features(self.prepare(pixels)))

    def before_head(self, features):
        """The same, of what the network's forward_features gives: all of its tokens, or its last map."""
        net = self.net
        if getattr(net, "head_dist", None) is not None and net.global_pool == "token":
            return features[:, int(self.head == "shape")]  # timm would give the mean of both tokens
        features = net.forward_head(features, pre_logits=True)
        if features.ndim != 2:
            raise ValueError(NO_FEATURES.format(type(net).__name__))
        return features

    def tokens(self, pixels, norm=True):
        """The tokens after each block, with `norm` normalised as before the head: a list of (prefix, patch),
        float [N, prefix tokens, width] (class token first) and [N, patch tokens, width].

        Raises ValueError for a network without class and patch tokens.
        """
        if problem := no_class_token(self.net):
            raise ValueError(problem)
        try:
            blocks = self.net.forward_intermediates(
                self.prepare(pixels),
                return_prefix_tokens=True,
                norm=norm,
                output_fmt="NLC",
                intermediates_only=True,
            )
        except TypeError as error:  # CaiT and its like, where the class token joins late
            raise ValueError(f"{type(self.net).__name__} has no class token in its blocks") from error
        return [(prefix, patch) for patch, prefix in blocks]

    def attention(self, pixels, last=None, reduce=None):
        """The attention of each block after its softmax: a list of [N, heads, tokens, tokens].

        last: only of so many blocks at the end; nothing is formed of the others. reduce: a function of the
        attention of one block; what it returns is kept in its place, and no more than one block's attention
        is in memory. Raises ValueError for a network whose blocks do not attend.
        """
        modules, found, handles = attending(self.net)[-(last or 0) :], [], []
        fused = {module: module.fused_attn for module in modules if hasattr(module, "fused_attn")}

        def keep(module, inputs, attention):
            found.append(reduce(attention) if reduce else attention)

        try:
            for module in modules:
                handles.append(module.attn_drop.register_forward_hook(keep))
            for module in fused:
                module.fused_attn = False  # the fused kernel never forms the attention matrix
            self(pixels)
        finally:
            for handle in handles:
                handle.remove()
            for module, setting in fused.items():
                module.fused_attn = setting
        return found


def no_class_token(net):
    """That a network has no class token, in words; None if it has one."""
    if getattr(net, "cls_token", None) is None:  # registers alone are prefix tokens, too
        return f"{type(net).__name__} has no class token"
    return None


def attending(net):
    """The module of each block in whose `attn_drop` the attention of all tokens to all tokens can be seen.

    Raises ValueError for a network whose blocks do not attend as those of a ViT.
    """
    blocks, _ = hooks.token_blocks(net)
    # TNT's blocks attend twice, `attn_in` within patches; parallel ones have no module of their own for it.
    modules = [getattr(block, "attn_out", getattr(block, "attn", block)) for block in blocks]
    # Differential attention is what is left of two softmaxes, and can be below 0.
    if not modules or not all(hasattr(m, "attn_drop") and not hasattr(m, "lambda_init") for m in modules):
        raise ValueError(f"{type(net).__name__} has no blocks with a ViT's attention")
    return modules


def resized(model, size):
    """A copy of a vision transformer's Model that takes images of another size (height, width), of whole
    patches. timm interpolates the positions of its tokens, from its own grid to that of the size."""
    other = copy.deepcopy(model)
    other.net.set_input_size(img_size=size)
    other.size, other.grid = tuple(size), other.net.patch_embed.grid_size
    return other.to(model.mean.device)


def decide(net, prepared, head=None):
    """The logits of a network, of one of the two heads of a distilled one: "class" or "shape"; the mean,
    which is what a distilled network of timm returns, for "mean" and None."""
    return net(prepared) if head in (None, "mean") else heads(net, prepared)[head]


def pooled(logits, outputs, counts):
    """Logits of categories, float32 [N, categories]: the log of the mean probability of the classes of each,
    up to a term that all categories share (Geirhos et al. 2019).

    logits: float [N, classes]. outputs: int64, the classes of the first category, then of the second, ...
    counts: how many each has. The softmax of the result is the mean probability of a category divided by the
    sum of these over the categories: probabilities are renormalised over the categories. Their order, and so
    the decision, is that of the means themselves.
    """
    groups = logits.float()[:, outputs].split(counts, 1)
    return torch.stack([group.logsumexp(1) - math.log(group.shape[1]) for group in groups], 1)


def ranks(logits, labels):
    """How many classes stand above the true one, 0 where it is decided for: int64 [N]. Ties go to the lower
    class, as in argmax. logits: float [N, classes]. labels: int64 [N]."""
    true = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    return ((logits > true) | ((logits == true) & earlier)).sum(1)


def heads(net, prepared):
    """The logits of both heads of a distilled network, {"class", "shape"}, from one pass."""
    tokens = net.forward_features(prepared)
    return {"class": net.head(tokens[:, 0]), "shape": net.head_dist(tokens[:, 1])}


def autocast(device, dtype):
    """The context in which a network computes in a lower dtype than float32, where one is asked for."""
    return torch.autocast(device.type, dtype) if dtype is not torch.float32 else contextlib.nullcontext()


def halved(batch_images, error, device):
    """Half as many images, for a batch that memory has not held. Raises the RuntimeError again if it says
    something else, or came of a single image."""
    # Of the CPU, of CUDA, of cuBLAS and cuDNN.
    words = ("can't allocate memory", "out of memory", "_ALLOC_FAILED")
    ended = isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
    if not ended or batch_images == 1:
        raise error
    logging.warning("out of memory; going on with batches of %d images", batch_images // 2)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return batch_images // 2


def with_ours():
    """timm, which knows the networks of this package, too."""
    import timm

    from patchwork import (  # noqa: F401 - make themselves known to it
        t2t_vit,
        torchvision_models,
        vgg_normalised,
        vit_small_2020,
    )

    return timm


def create(entry, classes=None, pretrained=False):
    """The bare timm network of a config entry {timm, options}, with `classes` outputs.

    With the option `pos_embed: none` it has no positions, or, where timm cannot leave them out, those of zero
    which no training changes.

    Raises ValueError naming the model when timm does not know it or refuses its options.
    """
    timm, options = with_ours(), dict(entry.get("options", {}))
    if classes is not None:
        options["num_classes"] = classes
    if not timm.is_model(entry["timm"]):
        alike = difflib.get_close_matches(entry["timm"].split(".")[0], timm.list_models(), 4)
        raise ValueError(f"timm has no model {entry['timm']!r}; alike: {', '.join(alike) or 'none'}")
    try:
        net = timm.create_model(entry["timm"], pretrained=pretrained, **options)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"timm's {entry['timm']!r} refuses options {options}: {error}") from error
    if options.get("pos_embed") == "none" and getattr(net, "pos_embed", None) is not None:
        # timm's distilled networks do not heed the option
        nn.init.zeros_(net.get_parameter("pos_embed")).requires_grad_(False)
    return net


def members(entry, learnt, outputs, classes, categories):
    """The outputs of a network that make up each category: a list of lists; None if they are its outputs.

    entry: of the config. learnt: the names of the network's classes, None if the weights tell none; of 1,000
    outputs they are then those of ImageNet-1k. outputs: how many it has. classes: the categories in order.
    categories: {category: [class]}. Raises ValueError naming what does not fit.
    """
    if learnt == classes or (learnt is None and outputs == len(classes)):
        return None
    names = folders.imagenet_classes() if learnt is None and outputs == 1000 else learnt
    if names is None:
        raise ValueError(
            f"{entry['timm']} tells {outputs} classes apart and does not know their names: the dataset has "
            f"{len(classes)} categories, for which a model needs the 1000 classes of ImageNet-1k or names"
        )
    places = {name: place for place, name in enumerate(names)}
    if lost := [name for category in classes for name in categories[category] if name not in places]:
        raise ValueError(
            f"{entry['timm']} has not learnt the class {lost[0]!r} ({len(lost)} such), of which the "
            "dataset's categories are made"
        )
    return [[places[name] for name in categories[category]] for category in classes]


def build(entry, weights, classes=None, categories=None):
    """The model of a config entry with its weights, ready to evaluate on a dataset.

    entry: {timm, options, size, run, head}. weights: a file written by `save`. classes: the dataset's class
    names; None if the model is asked for something else than classes. categories: the model's classes that
    each of these is made of, {category: [class]}, if they are categories. Raises ValueError if the weights
    do not fit the network, or the network's classes not the dataset's.
    """
    state, metadata = load(weights)
    learnt = json.loads(metadata.get("classes", "null"))
    net = create(entry, None if learnt is None else len(learnt))
    fit(net, state, weights)
    if classes and not net.num_classes:
        raise ValueError(f"the weights of {entry['timm']} learnt no classes, so it cannot name any")
    made_of = members(entry, learnt, net.num_classes, classes, categories) if classes and categories else None
    if made_of:
        classes = None
    if classes and net.num_classes != len(classes):
        raise ValueError(
            f"{entry['timm']} tells {net.num_classes} classes apart, the dataset has {len(classes)}: give "
            "the dataset a class list (`classes: FILE`) or choose a model that was trained on its classes"
        )
    if classes and learnt and learnt != classes:
        differ = next(i for i, (a, b) in enumerate(zip(learnt, classes, strict=True)) if a != b)
        raise ValueError(
            f"the model learnt class {differ} as {learnt[differ]!r}, but the dataset has "
            f"{classes[differ]!r} there"
        )
    if "head" in entry and not hasattr(net, "head_dist"):
        raise ValueError(f"{entry['timm']} has one head alone: leave out `head: {entry['head']}`")
    model = Model(net, entry.get("size") and (entry["size"], entry["size"]), entry.get("head"), made_of)
    model.origin = {
        "timm": entry["timm"],
        "options": entry.get("options", {}),
        "size": model.size,
        "weights": metadata["digest"],
        **({"head": entry["head"]} if "head" in entry else {}),
        **({"categories": made_of} if made_of else {}),
    }
    return model.eval().requires_grad_(False)


def fit(net, state, source):
    """Load a state dict into a network whole, or raise ValueError naming what does not fit."""
    expected = net.state_dict()
    problems = [f"misses {name}" for name in expected if name not in state]
    problems += [f"has {name} too many" for name in state if name not in expected]
    problems += [
        f"has {name} of shape {tuple(value.shape)} instead of {tuple(expected[name].shape)}"
        for name, value in state.items()
        if name in expected and value.shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        bias = state.get(f"{getattr(net, 'pretrained_cfg', {}).get('classifier')}.bias")
        if bias is not None and len(bias) != net.num_classes:
            more += f"; for its {len(bias)} classes give the model `options: {{num_classes: {len(bias)}}}`"
        raise ValueError(f"{source} does not fit {type(net).__name__}: it {'; it '.join(problems[:4])}{more}")
    strange = [n for n, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if strange:
        raise ValueError(f"{source} has NaN or infinite weights in {', '.join(strange[:4])}")
    net.load_state_dict(state)


def save(path, state, classes=None, metrics=None, sha256=None):
    """Write a state dict as .safetensors with its digest and, if known, the classes it was trained on, none
    if it learnt without labels, how that went (a dict of numbers), and the sha256 of the file that it is
    from."""
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    facts = {"classes": classes, "metrics": metrics, "sha256": sha256}
    metadata = {key: json.dumps(fact) for key, fact in facts.items() if fact is not None}
    safetensors.torch.save_file(state, path, metadata | {"digest": digest(state)})


def digest(state):
    """Of names, dtypes, shapes and values of the tensors of a state dict on the CPU."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        found.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode())
        found.update(state[name].reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def load(path):
    """A state dict and the metadata that `save` wrote, {digest, classes, metrics, sha256}.

    Raises ValueError naming the file if it is cut short or its values are not those that were saved.
    """
    with files.reading(path), safetensors.safe_open(path, "pt") as opened:
        state, metadata = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
        if digest(state) != metadata["digest"]:
            raise ValueError("another digest")
    return state, metadata


def device(compute):
    """The torch.device that the config's `compute` asks for; `auto` takes a GPU where there is one."""
    name = compute["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            "config asks for compute.device cuda, but torch sees no GPU; `auto` would take the CPU"
        )
    if name == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes that torchrun has started
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def place(model, compute):
    """A model on the device that the config's `compute` asks for, a CNN in the memory layout it asks for."""
    torch.backends.cudnn.allow_tf32 = False  # float32 is to mean the same for convolutions as for attention
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in model.modules())
    if compute["channels_last"] and convolutions > 1:  # a ViT has one, which cuts its patches
        model.layout = torch.channels_last
    return model.to(device(compute), memory_format=model.layout)
