"""Changes inside a network that last for one forward pass, for timm's vision transformers and CNNs."""

import contextlib
import inspect
import itertools

import torch


def is_transformer(net):
    """Whether a network is timm's VisionTransformer or built on it (DeiT, distilled, DINO, registers)."""
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(net, VisionTransformer)


def token_blocks(net):
    """The blocks that a network's class token passes with all patch tokens (ViT, BEiT, EVA, TNT), and which
    of a block's inputs they are: (list of modules, index); ([], 0) for any other network."""
    from timm.models import beit, eva, tnt, vision_transformer, vision_transformer_relpos

    if isinstance(net, tnt.TNT):
        return list(net.blocks), 1  # after the pixels within the patches
    relative = vision_transformer_relpos.VisionTransformerRelPos
    alike = isinstance(net, (vision_transformer.VisionTransformer, relative, beit.Beit, eva.Eva))
    return (list(net.blocks) if alike else []), 0


def masks_keys(net):
    """Whether the attention of a network's blocks can be told what to attend to."""
    blocks, place = token_blocks(net)
    return not place and bool(blocks) and "attn_mask" in inspect.signature(blocks[0].attn.forward).parameters


@contextlib.contextmanager
def hooked(handles):
    """Remove hooks when the context ends."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tokens_kept(model, kept):
    """A context in which a vision transformer sees only some of its patch tokens, with their own positions.

    kept: bool [N, patch tokens], equally many True in each row; None to keep all.
    """
    if kept is None:
        return contextlib.nullcontext()
    prefix = model.net.num_prefix_tokens
    places = kept.nonzero()[:, 1].view(len(kept), -1, 1)

    def keep(module, inputs, tokens):
        patches = tokens[:, prefix:].gather(1, places.expand(-1, -1, tokens.shape[2]))
        return torch.cat([tokens[:, :prefix], patches], 1)

    # Right after the position embedding; does nothing by itself outside of training.
    return hooked([model.net.patch_drop.register_forward_hook(keep)])


def stages(net):
    """The modules of a CNN (or of a transformer of stages, like Swin) that its features enter, in order, and
    the one that they leave last: (list of modules, module). By timm's feature_info.

    The first module that timm lists is a stem for most, and the first stage where its name says so. Of
    networks that are one long sequence of layers, like VGG, it lists the last layer of each stage.
    """
    listed = [facts["module"] for facts in getattr(net, "feature_info", [])]
    if not listed:
        return [], None
    entered = [begins(*both) for both in itertools.pairwise(listed)]
    if listed[0].endswith(".0"):
        entered = [listed[0], *entered]
    try:
        return [net.get_submodule(name) for name in entered], net.get_submodule(listed[-1])
    except AttributeError:  # some networks list names that are no modules
        return [], None


def begins(before, name):
    """The name of the module that begins a stage: the one after the last of the stage `before`, where both
    stand in one numbered sequence, else that of the stage itself."""
    sequence, _, number = before.rpartition(".")
    same = number.isdigit() and name.rpartition(".")[0] == sequence
    return f"{sequence}.{int(number) + 1}" if same else name


def depth(net):
    """How many places `zeroed` can take: the blocks of a vision transformer; of others the stages, and one
    more where features leave the last."""
    entered, _ = stages(net)
    return len(token_blocks(net)[0]) or (len(entered) + 1 if entered else 0)


@torch.no_grad()
def problem(model, place):
    """Why `zeroed` cannot be done at a place of a network, in words, or None. Tried on one black image."""
    asked = []

    def choose(positions):
        asked.append(positions)
        return torch.zeros(1, positions, dtype=torch.bool, device=model.mean.device)

    try:
        with zeroed(model, place, choose):
            model(torch.zeros(1, 3, *model.size, device=model.mean.device))
    except ValueError as error:
        return str(error)
    return None if asked else f"{type(model.net).__name__} does not pass its place {place} on its way"


def zeroed(model, place, choose):
    """A context in which some features are 0 as they enter a block or stage; `place` counts from 1.

    choose: a number of positions -> bool [N, positions], the ones that become 0. In a vision transformer
    positions are patch tokens (class token and registers stay); in a CNN the places of the feature map, all
    of its channels. Raises ValueError in the forward pass of a network whose features are neither.
    """
    net = model.net
    blocks, which = token_blocks(net)
    if blocks:

        def zero(module, inputs):
            tokens, prefix = inputs[which], getattr(net, "num_prefix_tokens", 1)
            kept = ~choose(tokens.shape[1] - prefix)
            kept = torch.cat([kept.new_ones(len(kept), prefix), kept], 1)
            return (*inputs[:which], tokens * kept[..., None], *inputs[which + 1 :])

        return hooked([blocks[place - 1].register_forward_pre_hook(zero)])

    rows = 1 if getattr(net, "output_fmt", "NCHW") == "NHWC" else 2

    def zero_map(features):
        size = features.shape[rows : rows + 2] if isinstance(features, torch.Tensor) else []
        if len(size) < 2 or features.ndim != 4 or size[0] != size[1]:  # images are square
            raise ValueError(f"{type(net).__name__} has no feature maps whose places could be zeroed")
        kept = ~choose(size[0] * size[1])
        kept = kept.view(len(kept), *size)
        return features * kept.unsqueeze(3 if rows == 1 else 1)

    entered, left = stages(net)
    if place > len(entered):
        return hooked([left.register_forward_hook(lambda module, inputs, output: zero_map(output))])
    enter = entered[place - 1].register_forward_pre_hook
    return hooked([enter(lambda module, inputs: (zero_map(inputs[0]), *inputs[1:]))])


def keys_masked(model, block, choose):
    """A context in which no token of a vision transformer attends to some patch tokens in one block; `block`
    counts from 1, `choose` is as of `zeroed`."""
    prefix = model.net.num_prefix_tokens

    def mask(module, inputs, named):
        seen = ~choose(inputs[0].shape[1] - prefix)
        seen = torch.cat([seen.new_ones(len(seen), prefix), seen], 1)
        return inputs, named | {"attn_mask": seen[:, None, None]}

    attention = model.net.blocks[block - 1].attn
    return hooked([attention.register_forward_pre_hook(mask, with_kwargs=True)])
