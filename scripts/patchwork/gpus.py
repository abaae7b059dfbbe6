"""The GPUs of a machine without a scheduler: each job takes its own."""

import errno
import logging
import os
import re
import socket
import subprocess
import time
from itertools import takewhile
from random import uniform

WAIT_SECONDS = 0.5, 1.5  # drawn from between, so that two jobs do not meet again and again

# A name that a socket is bound to is known all over the machine, to all of its users, and is free when the
# last process that holds it has ended, however it ended.
NAME = "\0patchwork-gpu-{}"

held = {}  # the sockets by their GPU


def take(wanted):
    """Take so many GPUs for this process and those that it will start or become; wait until they are free.

    CUDA_VISIBLE_DEVICES then names these alone, so call it before CUDA is first used. Nothing happens on a
    machine without GPUs, or where SLURM has left no choice.

    Raises ValueError if there are never so many.
    """
    visible = visible_gpus()
    if not visible or ("SLURM_JOB_ID" in os.environ and len(visible) <= wanted):
        return
    if wanted > len(visible):
        raise ValueError(
            f"the job asks for {wanted} GPUs (its resource `gpu`), but there are {len(visible)}: "
            f"{', '.join(visible)}; ask for fewer, or name more in CUDA_VISIBLE_DEVICES"
        )
    held.update(free_gpus(visible, wanted))
    if not held:
        logging.info("waiting for %d of the GPUs %s: other jobs have them", wanted, ", ".join(visible))
    while not held:
        time.sleep(uniform(*WAIT_SECONDS))
        held.update(free_gpus(visible, wanted))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
    logging.info("GPUs of this job: %s", ", ".join(held))


def visible_gpus():
    """The GPUs that CUDA_VISIBLE_DEVICES names, without it all of the machine: by UUID as far as known, since
    the number of a device is another one in another container or for another user."""
    machine = machine_gpus()
    if "CUDA_VISIBLE_DEVICES" not in os.environ:
        return machine
    words = (word.strip() for word in os.environ["CUDA_VISIBLE_DEVICES"].split(","))
    numbers = {str(number): gpu for number, gpu in enumerate(machine)}
    return [numbers.get(word, word) for word in takewhile(lambda word: word not in ("", "-1"), words)]


def machine_gpus():
    """The UUIDs of the GPUs of this machine, in the order of their numbers."""
    try:
        told = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    except FileNotFoundError:
        return []
    return re.findall(r"^GPU \d+: .*\(UUID: (GPU-[^)]+)\)", told.stdout, re.M)


def free_gpus(gpus, wanted):
    """Sockets that hold the first so many that are free, by GPU; {}, and none is held, if there are fewer."""
    taken = {}
    for gpu in gpus:
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(NAME.format(gpu))
        except OSError as error:
            lock.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        lock.set_inheritable(True)  # by the program that this process may become, as torchrun
        taken[gpu] = lock
        if len(taken) == wanted:
            return taken
    for lock in taken.values():
        lock.close()
    return {}
