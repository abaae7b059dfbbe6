"""What every job does first: find its log, keep to its threads and GPUs, end when its Snakemake ends, or at
once if its work is already done."""

import atexit
import ctypes
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path

import psutil

from patchwork import gpus, reuse

WATCH_SECONDS = 1
STARTED = "PATCHWORK_PROCESSES"  # in the environment of processes that torchrun has started

# M_MMAP_MAX: no pieces outside the heap; M_TRIM_THRESHOLD: it never shrinks; M_TOP_PAD: it grows by 64 MB.
MALLOPT = {-4: 0, -1: -1, -2: 1 << 26}

terminal = sys.stderr  # where a person may look; `start` keeps it when it sends stderr to the log


def keep_memory():
    """Let glibc keep what is freed for the next tensor.

    It gives large pieces back to the system at once, and a fresh page costs a fault: a third of the time of a
    light model on a CPU. Other C libraries are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for parameter, value in MALLOPT.items():
            library.mallopt(parameter, value)


def start(snakemake, can_reuse=True):
    """Send output to the job's log, limit its threads, watch the Snakemake that started it, and take the GPUs
    that it asks for. A job whose outputs are copied from the run that the config's `reuse` names ends here.

    Call it before torch or numpy is imported: their thread pools read the environment once.
    can_reuse: whether the outputs are all that the job leaves.
    """
    threads = max(1, snakemake.threads // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    global terminal
    keep_memory()
    terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a" if STARTED in os.environ else "w") as opened:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(opened.fileno(), sys.stdout.fileno())
        os.dup2(opened.fileno(), sys.stderr.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    job = " ".join([snakemake.rule, *snakemake.wildcards])
    sys.excepthook = lambda kind, error, trace: report(job, log, kind, error, trace)
    atexit.register(tell_device)
    threading.Thread(target=end_with_snakemake, args=[snakemake_process()], daemon=True).start()
    other = snakemake.config.get("reuse")
    if other and can_reuse and reuse.take(other, snakemake.output, snakemake.params):
        sys.exit()
    wanted = snakemake.resources.get("gpu", 0)
    chosen = ":" in snakemake.config.get("compute", {}).get("device", "")  # cuda:N
    if wanted and not chosen and STARTED not in os.environ:
        gpus.take(wanted)


def start_processes(snakemake):
    """Run the script once more in as many processes as the job has GPUs, by torchrun, if that is more than
    one.

    Each of them comes here again and goes on; this process becomes torchrun's and does not return.
    """
    processes = snakemake.resources.get("gpu", 0)
    if processes > 1 and STARTED not in os.environ:
        os.environ[STARTED] = "yes"
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        os.execv(sys.executable, [sys.executable, *torchrun, sys.argv[0]])


def tell_device():
    """Say in the log what a job that has used torch has computed on: the report tells what that took."""
    if torch := sys.modules.get("torch"):
        logging.info("computed on %s", "cuda" if torch.cuda.is_initialized() else "cpu")


def report(job, log, kind, error, trace):
    """Put the reason on the terminal in one line, and the whole story into the log."""
    atexit.unregister(tell_device)  # the reason is to be the last line of the log
    sys.__excepthook__(kind, error, trace)
    reason = " ".join(str(error).split()) or kind.__name__
    if isinstance(error, ModuleNotFoundError):
        reason = (
            f"{sys.executable} on {socket.gethostname()} has no {error.name}: activate the environment that "
            "Snakemake was installed in with all of requirements.txt, or start Snakemake with --sdm conda"
        )
    elif not isinstance(error, (ValueError, FileNotFoundError)):  # our own messages need no type
        reason = f"{kind.__name__}: {reason}"
    print(f"{job} failed: {reason} (log: {log})", file=terminal)


def snakemake_process():
    """The nearest process above this one that is a Snakemake, or None."""
    for process in psutil.Process().parents():
        try:
            if any(Path(word).name == "snakemake" for word in process.cmdline()):
                return process
        except psutil.Error:
            continue
    return None


def end_with_snakemake(process):
    """End this job when its Snakemake is gone: after kill -9 its jobs would live on, and a rerun beside
    them would compute everything twice."""
    while process is not None:
        time.sleep(WATCH_SECONDS)
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            print("The Snakemake that started this job is gone, so the job ends.", file=sys.stderr)
            os._exit(1)


def progress(iterable=None, **settings):
    """A tqdm bar on the terminal; silent where nobody looks (the log gets a line per step instead)."""
    from tqdm import tqdm

    silent = not terminal.isatty() or os.environ.get("LOCAL_RANK", "0") != "0"  # one bar for all processes
    return tqdm(iterable, file=terminal, disable=silent, ncols=100, leave=False, **settings)
