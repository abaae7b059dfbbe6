"""Changes inside a network that last for one forward pass, for timm's vision transformers and CNNs."""

import contextlib
import inspect

import torch


def is_transformer(net):
    """Whether a network is timm's VisionTransformer or built on it (DeiT, distilled, DINO, registers)."""
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(net, VisionTransformer)


def token_blocks(net):
    """The blocks of a network that all of its tokens pass (ViT, BEiT, EVA and others); [] if it has none."""
    tokens = hasattr(net, "num_prefix_tokens") and hasattr(net, "patch_embed")
    return list(getattr(net, "blocks", [])) if tokens else []


def masks_keys(net):
    """Whether the attention of a network's blocks can be told what to attend to."""
    blocks = token_blocks(net)
    return bool(blocks) and "attn_mask" in inspect.signature(blocks[0].attn.forward).parameters


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

    The first module that timm lists is a stem for most, and the first stage where its name says so.
    """
    listed = [facts["module"] for facts in getattr(net, "feature_info", [])]
    if not listed:
        return [], None
    entered = listed if listed[0].endswith(".0") else listed[1:]
    return [net.get_submodule(name) for name in entered], net.get_submodule(listed[-1])


def depth(net):
    """How many places `zeroed` can take: the blocks of a vision transformer; of others the stages, and one
    more where features leave the last."""
    entered, _ = stages(net)
    return len(token_blocks(net)) or (len(entered) + 1 if entered else 0)


def zeroed(model, place, choose):
    """A context in which some features are 0 as they enter a block or stage; `place` counts from 1.

    choose: a number of positions -> bool [N, positions], the ones that become 0. In a vision transformer
    positions are patch tokens (class token and registers stay); in a CNN the places of the feature map, all
    of its channels. Raises ValueError in the forward pass of a network whose features are neither.
    """
    net = model.net
    if blocks := token_blocks(net):

        def zero(module, inputs):
            (tokens, *rest), prefix = inputs, net.num_prefix_tokens
            kept = ~choose(tokens.shape[1] - prefix)
            kept = torch.cat([kept.new_ones(len(kept), prefix), kept], 1)
            return (tokens * kept[..., None], *rest)

        return hooked([blocks[place - 1].register_forward_pre_hook(zero)])

    rows = 1 if getattr(net, "output_fmt", "NCHW") == "NHWC" else 2

    def zero_map(features):
        if features.ndim != 4:
            raise ValueError(f"{type(net).__name__} has no feature maps whose places could be zeroed")
        size = features.shape[rows : rows + 2]
        kept = ~choose(size.numel()).view(-1, *size)
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
