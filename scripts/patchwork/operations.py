"""The floating point operations of networks, counted without their weights and without an image.

Run as a program by costs.Rates.count: networks in, as JSON, and {network: operations} out.
"""

import json
import logging
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import torch
from torch.utils.flop_counter import FlopCounterMode

from patchwork import models

PROCESSES = 8  # a run is planned where others work, too


def count(entry):
    """Of one pass of a single image through the network of a config entry {timm, options, size}.

    A multiplication and an addition are two. Layers that torch does not count, norms and the like, are left
    out.
    """
    size = entry["size"] and (entry["size"], entry["size"])
    with torch.device("meta"):
        model = models.Model(models.create({"timm": entry["timm"], "options": entry["options"] or {}}), size)
        image = torch.empty(1, 3, *model.size)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.eval().requires_grad_(False)(image)
    return counter.get_total_flops()


def tried(network):
    """The operations of a network, JSON of an entry; None, and why, if it cannot be built."""
    try:
        return count(json.loads(network))
    except Exception as error:  # whatever a network is made of; its jobs will tell
        logging.warning("operations of %s are not counted: %s", network, error)
        return None


def main():
    logging.basicConfig(format="%(message)s")
    networks = json.load(sys.stdin)
    with ProcessPoolExecutor(min(PROCESSES, os.cpu_count() or 1)) as pool:
        json.dump(dict(zip(networks, pool.map(tried, networks), strict=True)), sys.stdout)


if __name__ == "__main__":
    main()
