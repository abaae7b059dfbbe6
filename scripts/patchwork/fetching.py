"""Weights from the timm hub, a URL or a file, in one form: a .safetensors that fits its network."""

import hashlib

from patchwork import models
from patchwork.urls import download, is_url


def fetch(entry, path, folder):
    """Get the weights of a config entry {timm, options, weights, sha256} and save them at `path`.

    folder: for a downloaded file. Raises ValueError or FileNotFoundError naming the model, file or URL
    when the weights cannot be had, are not what the sha256 says, do not fit or hold NaN.
    """
    source = entry.get("weights")
    if source is None:
        models.save(path, pretrained(entry).state_dict())
        return
    net = models.create(entry)
    file = download(source, entry["sha256"], folder) if is_url(source) else source
    if "sha256" in entry and not is_url(source):
        with open(file, "rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found != entry["sha256"]:
            raise ValueError(f"{file} is not the file that the config means: its sha256 is {found}")
    models.fit(net, models.read_checkpoint(file, net), source)
    models.save(path, net.state_dict())


def pretrained(entry):
    """timm's network with its published weights, from the hub or its cache."""
    try:
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
    models.fit(net, net.state_dict(), entry["timm"])
    return net
