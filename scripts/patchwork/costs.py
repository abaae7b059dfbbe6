"""What strips are expected to take, before anything runs: as long as earlier ones took, else as long as the
operations of their networks would.

A pass is an image in a cell. Times are those of one GPU, or of one thread of a CPU. Nothing here imports
torch: it is asked whenever the workflow is planned.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from patchwork import files

# A gradient of the pixels is a pass forward and one back; 1.9 to 3.2 were measured.
GRADIENT_PASSES = 2

# Operations per second / 1e12 that networks sustain, in float32 and in the halved formats, where nothing has
# been measured yet. cpu: one thread does 0.03 to 0.08 (measured), and halves gain nothing. cuda: half of what
# a V100 does at most (15.7), and a seventh of what the tensor cores of an A100 do (312). mps: half of an M1
# (2.6).
TERAFLOPS = {"cpu": (0.05, 0.05), "cuda": (8, 45), "mps": (1.3, 1.3)}

# Strips of fewer passes are over before the operations of their network would be counted, and count as
# nothing.
FEW_PASSES = 1000


def device(name, asked=False):
    """The kind of device that jobs will compute on, as torch would choose, without asking it.

    name: in the config. asked: whether a cluster is asked for GPUs, which the machine that plans may lack.
    """
    if name != "auto":
        return name.split(":")[0]
    if asked or os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/kfd"):
        return "cuda"
    return "mps" if (sys.platform, platform.machine()) == ("darwin", "arm64") else "cpu"


def network(entry):
    """All of a model's entry that decides how long a pass takes."""
    return json.dumps({key: entry.get(key) for key in ("timm", "options", "size")}, sort_keys=True)


# ---- what jobs leave ----


def note(path, strip, model, threads, **told):
    """Leave at `path` what a strip (strips.Strip) has measured, and what else is `told`.

    A job that computed nothing, as all was there, keeps what an earlier one has measured.
    """
    path = Path(path)
    measured = {
        "network": network(model),
        "device": strip.device.type,
        "dtype": str(strip.dtype).removeprefix("torch."),
        "threads": threads,
        "passes": strip.passes,
        "seconds": strip.seconds,
    }
    told |= {"input_pixels": strip.model.size, "grid": strip.model.grid}
    earlier = json.loads(path.read_text()) if path.exists() else {}
    with files.whole(path) as temporary:
        temporary.write_text(json.dumps(earlier | told | (measured if strip.passes else {})))


def notes(folder):
    """All that was left below a folder: a list of (names of folders and file below it, what was told)."""
    found = sorted(Path(folder).rglob("*.json"))
    return [(path.relative_to(folder).with_suffix("").parts, json.loads(path.read_text())) for path in found]


# ---- what is expected ----


def gradients(perturbation):
    """How many gradients an image takes under any level but the first: the product of GRADIENTS."""
    if "gradients" not in perturbation:
        return 0
    settings = perturbation.get("settings", {})
    return math.prod(settings.get(factor, factor) for factor in perturbation["gradients"])


class Rates:
    """How long passes take.

    measured: [((dataset, model, perturbation, variant, ...), what was told)], see `notes`; only what was
    measured on this kind of `device`, in the dtype of `compute`, counts. perturbations: the catalogue.
    models: the entries of the config. `operations`: of a pass, of networks that were not measured (`count`);
    `teraflops`: what they are taken to sustain.
    """

    def __init__(self, measured, device, compute, perturbations, models):
        self.perturbations, self.models, self.operations = perturbations, models, {}
        full, half = TERAFLOPS[device]
        own = full if compute["dtype"] == "float32" else half
        self.teraflops = compute.get("teraflops", own)
        self.slower = own / full  # are gradients, which are always in float32
        sums = defaultdict(lambda: [0, 0.0])
        for (dataset, _, *perturbation), told in measured:
            if (told.get("device"), told.get("dtype")) == (device, compute["dtype"]):
                name, threads = "/".join(perturbation[:2]), told["threads"] if device == "cpu" else 1
                for key in ((told["network"], name), (told["network"], name, dataset)):
                    sums[key][0] += told["passes"]
                    sums[key][1] += told["seconds"] * threads
        self.took = {key: seconds / passes for key, (passes, seconds) in sums.items()}
        self.plain = {}  # of each network what it takes for itself: what its fastest strip took
        for key in (key for key in self.took if len(key) == 2 and key[1] in perturbations):
            alone = self.took[key] / self.weight(key[1])
            self.plain[key[0]] = min(alone, self.plain.get(key[0], math.inf))

    def weight(self, name):
        """How many forward passes a pass under a perturbation takes, as a mean over its levels."""
        entry = self.perturbations[name]
        attacked = gradients(entry) * GRADIENT_PASSES * self.slower
        return 1 + attacked * (1 - 1 / len(entry["levels"]))

    def measured(self, model):
        """Whether any strip of a model's network was."""
        return network(self.models[model]) in self.plain

    def alone(self, model):
        """Of a pass of a model for itself; 0 if nothing is known of its network."""
        key = network(self.models[model])
        return self.plain.get(key, self.operations.get(key, 0) / self.teraflops / 1e12)

    def seconds(self, strip):
        """Of a pass of a strip, {dataset, model, perturbation, variant}: what this one took, else one on
        another dataset, else what the network takes for itself and what the perturbation adds, as told by
        other networks; 0 if nothing is known of the network."""
        key, name = network(self.models[strip["model"]]), "{perturbation}/{variant}".format(**strip)
        for known in ((key, name, strip["dataset"]), (key, name)):
            if known in self.took:
                return self.took[known]
        alone = self.alone(strip["model"])
        others = [
            (self.took[other, name], plain)
            for other, plain in self.plain.items()
            if (other, name) in self.took
        ]
        if not alone or not others:
            return alone * self.weight(name)
        if gradients(self.perturbations[name]):  # which are the network's own
            return alone * statistics.median(took / plain for took, plain in others)
        return alone + statistics.median(took - plain for took, plain in others)

    def count(self, names, known, cache, scripts):
        """Count the operations of these models, as far as they were not measured and can be built: of others
        their jobs will tell.

        known: a file of networks that were counted already, as `counted` tells them; cache: one that keeps
        what is counted here. scripts: see `counted`.
        """
        networks = {network(self.models[name]) for name in names if not self.measured(name)}
        told = json.loads(Path(known).read_text())
        kept = json.loads(Path(cache).read_text()) if os.path.exists(cache) else {}
        if unknown := networks - told.keys() - kept.keys():
            kept |= counted(unknown, scripts)
            with files.whole(cache) as path:
                path.write_text(json.dumps(kept))
        told |= kept
        self.operations = {key: told[key] for key in networks if told.get(key)}


def counted(networks, scripts):
    """The operations of networks, {network: number, or None if it cannot be built}; nothing if none can be
    counted.

    scripts: the folder that this package is in, for the process that counts, as torch takes seconds to
    import.
    """
    done = subprocess.run(
        [sys.executable, "-m", "patchwork.operations"],
        input=json.dumps(sorted(networks)),
        cwd=scripts,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


# ---- how it is cut into jobs ----


def shards(seconds, job_seconds, most):
    """By how many jobs a strip is computed, at `most`, so that each takes about `job_seconds`."""
    return max(1, min(most, round(seconds / job_seconds)))


def batches(strips, job_seconds, start_seconds=15):
    """Strips, {name: seconds}, in lists that take about `job_seconds` one after the other: each is for one
    submission to a cluster. Every strip takes its start, too."""
    found, taken = [], math.inf
    for name, seconds in strips.items():
        took = seconds + start_seconds
        if taken + took / 2 > job_seconds:  # it is nearer to the wanted time without this one
            found.append([])
            taken = 0
        found[-1].append(name)
        taken += took
    return found


def table(rows, unit):
    """Lines for people: {name: (jobs, jobs left, passes, seconds, seconds left)}. unit: of the hours."""
    width = max(map(len, [*rows, "together"]))
    yield f"{'expected':{width}}    jobs    left           passes  {unit:>10}      left"
    together = [sum(row[column] for row in rows.values()) for column in range(5)]
    for name, (jobs, left, passes, seconds, rest) in [*rows.items(), ("together", together)]:
        hours = f"{seconds / 3600:10,.1f}{rest / 3600:10,.1f}"
        yield f"{name:{width}}{jobs:8,d}{left:8,d}{passes:17,d}  {hours}"
