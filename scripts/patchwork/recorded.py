"""What jobs took, as Snakemake's benchmark files, the jobs' logs, and what strips have left tell it.

All of these may be absent, of results that came from elsewhere: nothing is then told, and nothing is guessed.
"""

import json
import re
from pathlib import Path

import pyarrow as pa

JOBS = pa.schema(
    [
        *((name, pa.string()) for name in ("rule", "study", "dataset", "model", "perturbation", "variant")),
        ("measure", pa.string()),
        ("run", pa.string()),
        ("part", pa.string()),  # the epoch that a stage of a training ends with, a shard, a stylizer
        ("device", pa.string()),
        ("job_seconds", pa.float64()),
        ("cpu_seconds", pa.float64()),
        ("memory_mb", pa.float64()),  # of the host, at its highest
        ("passes", pa.int64()),  # images times cells that a strip has computed
        ("passes_seconds", pa.float64()),
        ("copied_from", pa.string()),  # the folder of another run
    ]
)
COPIED, DEVICE = re.compile(r" taken from (.+), which has made it"), re.compile(r" computed on (\w+)$", re.M)
STRIP = re.compile(r"on (\S+) in \S+$")  # the end of `computed_with` of a strip


def jobs(told, computed_with):
    """What jobs took: a table of JOBS.

    told: of each job a dict of the texts of JOBS, as far as it has them, with the paths `benchmark`, `log`
    and, of strips, `cost` (of costs.note) and `shard_benchmarks`, a folder. computed_with: what the files of
    strips tell, by (dataset, model, perturbation, variant).
    """
    rows = []
    for job in told:
        row = {name: job.get(name) for name in JOBS.names} | benchmark(job["benchmark"])
        if "cost" in job:
            strip = tuple(job[name] for name in ("dataset", "model", "perturbation", "variant"))
            found = STRIP.search(computed_with.get(strip, ""))
            row |= passes(job["cost"]) | {"device": found and found[1]}
            rows += [row | shard for shard in shards(job)]
        rows.append(row | logged(job["log"]) if "cost" not in job else row)
    return pa.Table.from_pylist(rows, JOBS)


def benchmark(path):
    """What a benchmark file tells of the last run of its job; nothing if it is not there or says nothing."""
    names = {"job_seconds": "s", "cpu_seconds": "cpu_time", "memory_mb": "max_rss"}
    lines = read(path).splitlines()
    numbers = json.loads(lines[-1]) if lines else {}
    return {name: value for name, key in names.items() if isinstance(value := numbers.get(key), int | float)}


def passes(path):
    """What costs.note has left of a strip or a shard."""
    note = json.loads(read(path) or "{}")
    return {"passes": note.get("passes"), "passes_seconds": note.get("seconds")}


def shards(job):
    """What the shards of a strip took that were computed last."""
    folder = Path(job["cost"]).with_suffix("")
    notes = sorted(folder.glob("*-*.json"), key=lambda path: path.stat().st_mtime)
    for path in notes:
        if path.stem.split("-")[1] == notes[-1].stem.split("-")[1]:
            own = Path(job["shard_benchmarks"], f"{path.stem}.jsonl")
            yield {"rule": "predict_shard", "part": path.stem, **benchmark(own), **passes(path)}


def logged(path):
    """What a log tells of the device, and of another run that the result was copied from."""
    text = read(path)
    found = {"device": DEVICE.findall(text)[-1:], "copied_from": COPIED.findall(text)[-1:]}
    return {name: value for name, [value] in ((n, v) for n, v in found.items() if v)}


def read(path):
    """The text of a file; '' if there is none."""
    path = Path(path)
    return path.read_text(errors="replace") if path.is_file() else ""
