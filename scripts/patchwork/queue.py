"""The jobs that Snakemake has in SLURM's queue: those of one that was killed go on, and write its files."""

import re
import subprocess
from pathlib import Path

# What Snakemake names all jobs of one run: a UUID, perhaps with a prefix.
RUN = re.compile(r"([\w-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def runs(folder):
    """The runs of Snakemake that this user started in a folder and that have jobs in the queue: their names.

    Raises ValueError if the queue cannot be read.
    """
    told = subprocess.run(["squeue", "--me", "--noheader", "--format=%j|%Z"], capture_output=True, text=True)
    if told.returncode:
        raise ValueError(f"squeue fails, so SLURM's queue is not known: {' '.join(told.stderr.split())}")
    jobs = [line.partition("|") for line in told.stdout.splitlines()]
    here = Path(folder).resolve()
    return sorted({name for name, _, at in jobs if RUN.fullmatch(name) and Path(at).resolve() == here})
