"""Weights from the timm hub, a URL, a file or nowhere, in one form: a .safetensors that fits its network."""

import argparse
import hashlib
import pickle
import sys
from pathlib import Path
from urllib.parse import urlsplit

import safetensors
import torch

from patchwork import models
from patchwork.urls import UNKNOWN, digest, download, hash_in_name, is_url

# What torch and safetensors raise for a file that is damaged, something else, or holds code.
UNREADABLE = pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError, KeyError, OSError


def fetch(name, entry, path):
    """Get the weights of the model `name` and save them at `path`.

    entry: of the config, {timm, options, weights, sha256}. Returns the sha256 of the file that they come
    from, which is saved with them; None for random ones and those that timm finds by itself.
    Raises ValueError or FileNotFoundError naming the model, file or URL when the weights
    cannot be had, are not what the sha256 says, do not fit or hold NaN.
    """
    source = entry.get("weights")
    if source is None:
        models.save(path, pretrained(entry).state_dict())
        return None
    if source == "random":
        models.save(path, random(name, entry).state_dict())
        return None
    net, told = models.create(entry), entry.get("sha256")
    if is_url(source):
        state, found = read_url(source, told, net)
    elif not Path(source).is_file():
        raise FileNotFoundError(f"there is no weights file {source}")
    elif (found := digest(source)) != (told or found):
        raise ValueError(f"{source} is not the file that the config means: its sha256 is {found}")
    else:
        state = read_checkpoint(source, net)
    models.fit(net, state, source)
    models.save(path, net.state_dict(), sha256=found)
    return found


def fetch_decoder(entry, path):
    """Get the decoder of a stylizer and save it at `path`; who knows the encoder checks that it fits.

    entry: of the config, {decoder, sha256}. Returns the sha256 of the file that it comes from.
    Raises ValueError naming the URL when it cannot be had or is not what the sha256 says.
    """
    state, found = read_url(entry["decoder"], entry.get("sha256"), torch.nn.Identity())
    models.save(path, state, sha256=found)
    return found


def read_url(url, told, net):
    """The weights in the file of a URL, as `read_checkpoint` reads them, and its sha256.

    told: its sha256 in the config; None if the name of the file tells the first digits.
    """
    file = kept(url)
    found = download(url, None if told == UNKNOWN else told or hash_in_name(url), file)
    try:
        return read_checkpoint(file, net), found
    except ValueError:
        if told == UNKNOWN:  # no digest has told that it is something else
            file.unlink()
        raise


def kept(url):
    """Where the file of a URL is kept: among those of torch, by its name if that tells its hash, as there; of
    others, two may have one name."""
    name = Path(urlsplit(url).path).name
    other = "" if hash_in_name(url) else f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-"
    return Path(torch.hub.get_dir(), "checkpoints", f"{other}{name}")


def random(name, entry):
    """timm's network as it is before training; its weights are drawn anew for each name of a model."""
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        return models.create(entry)


def pretrained(entry):
    """timm's network with its published weights, from the hub, a URL or the cache of either."""
    import timm.models

    try:
        where, place = published(entry)
        # Of some URLs, ...-300e.pth.tar, what torch would take for a hash is none.
        timm.models.set_pretrained_check_hash(where == "url" and hash_in_name(place) is not None)
        net = models.create(entry, pretrained=True)
    except RuntimeError as error:  # timm's word for weights that do not exist, or do not fit the options
        raise ValueError(
            f"timm's weights of {entry['timm']} cannot be used ({' '.join(str(error).split())}); give a "
            "file: `weights: PATH`"
        ) from error
    except OSError as error:  # what huggingface_hub and torch.hub raise without a network
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"the weights of {entry['timm']} cannot be fetched ({reason}); check the network, or give a "
            "file: `weights: PATH`"
        ) from error
    known = net.pretrained_cfg["num_classes"]
    if net.num_classes and net.num_classes != known:  # timm would leave the head as it was drawn
        raise ValueError(
            f"timm's weights of {entry['timm']} tell {known} classes apart, not {net.num_classes}: leave out "
            "`num_classes` of its options, or train a head (`run`, `transfers`)"
        )
    models.fit(net, net.state_dict(), entry["timm"])
    return net


def published(entry):
    """Where timm has the weights of a model from: ("hf-hub", repository or (repository, file)), ("url", URL),
    or another pair, if they are neither on the hub nor at a URL.

    Raises RuntimeError for a tag that timm does not know.
    """
    from timm.models._builder import _resolve_pretrained_source

    found = models.with_ours().get_pretrained_cfg(entry["timm"])
    own = entry.get("options", {}).get("pretrained_cfg_overlay", {})
    return _resolve_pretrained_source((found.to_dict() if found else {}) | own)


def read_checkpoint(path, net):
    """The weights in a .safetensors or .pth file of anybody's, with the names that `net` uses.

    Training checkpoints (state_dict, model, EMA first but for those of DeiT) and `module.` prefixes are
    unwrapped, and the architecture's own conversion of older formats is applied, all by timm. Files older
    than the counters of batch normalisation, which decide nothing, get those of `net`.
    Raises ValueError for a file with pickled code or no weights in it; such a file is never executed.
    """
    import timm.models

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    try:
        state = timm.models.load_state_dict(str(path), weights_only=True)
        if of_deit(path):
            state = timm.models.load_state_dict(str(path), use_ema=False, weights_only=True)
    except AttributeError:  # timm takes for granted that it is a dict with names
        state = None
    except UNREADABLE as error:
        reason = (str(error).strip() or "it ends too early").splitlines()[0].split(". ")[0]
        raise ValueError(
            f"{path} is not a plain file of weights and was not run ({reason}); save its state dict alone, "
            "best as .safetensors"
        ) from error
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict: it should map names to tensors")
    counters = {name: n for name, n in net.state_dict().items() if name.endswith(".num_batches_tracked")}
    return converted(counters | state, net)


def converted(state, net):
    """A state dict of an older format as timm converts it for an architecture; as it is where timm stumbles
    or resizes a tensor: then it is of another network."""
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if not convert or dimensions(state) == dimensions(net.state_dict()):
        return state
    try:
        found = convert(dict(state), net)
    except Exception:  # of whatever kind
        return state
    resized = any(name in state and state[name].numel() != value.numel() for name, value in found.items())
    return state if resized else found


def dimensions(state):
    """How many dimensions each tensor has, by name: what an older format differs in."""
    return {name: value.ndim for name, value in state.items()}


def of_deit(path):
    """Whether a file is a training checkpoint of DeiT's code: that keeps a moving average, `model_ema`, and
    evaluates the weights themselves, `model`; timm's evaluates the average."""
    if str(path).endswith(".safetensors"):
        return False
    with torch.serialization.safe_globals([argparse.Namespace]):
        return {"model", "model_ema"} <= torch.load(path, map_location="meta", weights_only=True).keys()
