"""Jobs of one machine and their GPUs, which are pretended: a device is a name."""

import os
import re
import subprocess
import sys
import uuid

import pytest

from conftest import ROOT
from patchwork import gpus

TAKE = f"""
import logging, os, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "scripts")!r})
from patchwork import gpus
logging.basicConfig(level=logging.INFO, format="%(message)s")
gpus.take(int(sys.argv[1]))
"""
# Fails if another process is at work on one of its devices.
WORK = """
for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    Path(gpu).touch(exist_ok=False)
time.sleep(0.3)
for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(","):
    Path(gpu).unlink()
    print(gpu)
"""
STAY = 'print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True); sys.stdin.read()'
BECOME_ANOTHER = f"os.execv(sys.executable, [sys.executable, '-c', {'import os, sys; ' + STAY!r}])"


@pytest.fixture
def devices(monkeypatch, tmp_path):
    """Three devices that no other test has, on a machine that SLURM knows nothing of."""
    name = uuid.uuid4().hex[:8]
    monkeypatch.setattr(gpus, "held", {})
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    return [f"{name}-{number}" for number in range(3)]


@pytest.fixture
def visible(devices, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(devices))
    return devices


def started(wanted, then):
    command = [sys.executable, "-c", TAKE + then, str(wanted)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def staying(visible):
    """A process that keeps two of the three devices until it is told to end."""
    with started(2, STAY) as process:  # which ends when its input does
        assert process.stdout.readline().strip() == ",".join(visible[:2])
        yield process


def are_free(devices):
    """Whether all devices can be had; they are left free."""
    taken = gpus.free_gpus(devices, len(devices))
    for lock in taken.values():
        lock.close()
    return bool(taken)


def test_never_two_jobs_on_one_device_and_all_get_theirs(visible):
    jobs = [started(wanted, WORK) for wanted in (1, 2, 1, 2, 3, 1)]
    told = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 6, told
    assert [len(set(out.split())) for out, _ in told] == [1, 2, 1, 2, 3, 1]
    assert {gpu for out, _ in told for gpu in out.split()} == set(visible)
    assert are_free(visible)


def test_a_job_that_waits_says_so_and_holds_nothing_meanwhile(staying, visible):
    waiting = started(2, WORK)
    assert (
        waiting.stderr.readline() == f"waiting for 2 of the GPUs {', '.join(visible)}: other jobs have them\n"
    )
    third = started(1, WORK)
    out, _ = third.communicate(timeout=60)
    assert out.split() == visible[2:]
    staying.stdin.close()
    out, error = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, error
    assert len(out.split()) == 2


def test_a_killed_process_frees_its_devices(staying, visible):
    assert not are_free(visible)
    staying.kill()
    staying.wait()
    assert are_free(visible)


def test_what_a_process_becomes_keeps_its_devices(visible):
    process = started(1, BECOME_ANOTHER)
    assert process.stdout.readline().strip() == visible[0]
    assert not are_free(visible[:1])
    process.communicate()
    assert are_free(visible)


def test_more_than_there_are_is_an_error(visible):
    with pytest.raises(ValueError, match=r"asks for 4 GPUs .*, but there are 3: "):
        gpus.take(4)
    assert are_free(visible)


@pytest.mark.parametrize("told", ["", "-1", None])
def test_without_devices_nothing_happens(devices, monkeypatch, told):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    gpus.take(1)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == told
    assert gpus.held == {}


def test_what_slurm_has_chosen_stays_and_of_more_one_is_taken(visible, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    gpus.take(3)
    assert gpus.held == {}
    gpus.take(1)  # in an allocation of three
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible[0]
    gpus.held[visible[0]].close()


@pytest.mark.parametrize(
    "told, expected", [(None, [0, 1]), ("1,0", [1, 0]), ("1,-1,0", [1]), ("MIG-5, 0", ["MIG-5", 0])]
)
def test_devices_are_known_by_their_uuids(devices, tmp_path, monkeypatch, told, expected):
    uuids = [f"GPU-{device}" for device in devices[:2]]
    listed = "".join(
        f"GPU {n}: NVIDIA A100 (UUID: {gpu})\n  MIG 1g.5gb (UUID: MIG-{n})\n" for n, gpu in enumerate(uuids)
    )
    tmp_path.joinpath("nvidia-smi").write_text(f"#!/bin/sh\ncat <<END\n{listed}END\n")
    tmp_path.joinpath("nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if told:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert gpus.visible_gpus() == [uuids[e] if isinstance(e, int) else e for e in expected]


SNAKEFILE = """
config["compute"] = {"device": "cuda"}
rule all:
    input: expand("{job}.txt", job=range(5)), "both.txt"
rule one:
    output: "{job}.txt"
    log: "{job}.log"
    wildcard_constraints: job=r"\\d"
    resources: gpu=1
    script: "job.py"
rule both:
    output: "both.txt"
    log: "both.log"
    resources: gpu=2
    script: "processes.py"
"""
START = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\nfrom patchwork import jobs\n"
JOB = START + "jobs.start(snakemake)\nimport os, time\nfrom pathlib import Path\n"
PROCESSES = (
    START + "jobs.start(snakemake)\njobs.start_processes(snakemake)\nimport os\nfrom pathlib import Path\n"
)
RECORD = 'Path(snakemake.output[0]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])\n'


def test_jobs_of_one_run_have_devices_of_their_own(visible, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(visible[:2]))
    tmp_path.joinpath("Snakefile").write_text(SNAKEFILE)
    tmp_path.joinpath("job.py").write_text(JOB + WORK + RECORD)
    # Both processes come here; each records on its own.
    tmp_path.joinpath("processes.py").write_text(
        PROCESSES
        + 'os.environ["LOCAL_RANK"] != "0" or '
        + RECORD
        + 'print("process", os.environ["LOCAL_RANK"])\n'
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "6", "--resources", "gpu=4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used = {tmp_path.joinpath(f"{job}.txt").read_text() for job in range(5)}
    assert used == set(visible[:2])
    assert tmp_path.joinpath("both.txt").read_text() == ",".join(visible[:2])
    log = tmp_path.joinpath("both.log").read_text()
    assert sorted(re.findall(r"process (\d)", log)) == ["0", "1"]
    assert log.count("GPUs of this job") == 1
