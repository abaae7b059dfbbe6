"""Runs on a SLURM of this machine, with accounting and two pretend GPUs (tests/slurm)."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, Project, predictions, save_random_weights

pytestmark = pytest.mark.slurm

PATIENCE_SECONDS = 1800
OUTAGE_SECONDS = 15  # longer than SLURM's commands try by themselves
# Snakemake that asks every second how its jobs are; the plug-in waits longer each time that none has ended.
SNAKEMAKE = """
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
from snakemake.cli import main
main()
"""
# What some jobs do the first time that they run.
STALL = """
STALLS = {
    "draw_images train": "kill",
    "predict shapes cnn random_drop 4x4": "time",
    "predict shapes vit random_drop 4x4": "memory",
    "predict shapes vit_random random_drop 4x4": "cancel",
}


def stall(job):
    marker = Path(f"stalled-{STALLS.get(job)}")
    if job in STALLS and not marker.exists():
        marker.touch()
        held = b"x" * (2 << 30) if STALLS[job] == "memory" else b""
        time.sleep(3600)


"""

# Minutes of the first jobs of these strips, and how SLURM tells that they have ended; without cgroups, memory
# is a failure like others.
STRIPS = {
    "cnn_random_drop_4x4": (1, ["TIMEOUT"]),
    "vit_random_drop_4x4": (60, ["OUT_OF_MEMORY", "FAILED"]),
    "vit_random_random_drop_4x4": (60, ["CANCELLED"]),
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The folder of a SLURM that runs."""
    folder = tmp_path_factory.mktemp("slurm")
    environment = os.environ | {"SLURM_CPUS": "8"}  # jobs that stall need none
    try:
        subprocess.run([ROOT / "tests/slurm/start.sh", folder], check=True, env=environment)
        yield folder
    finally:
        for process in started:
            process.kill()
        subprocess.run([ROOT / "tests/slurm/stop.sh", folder], check=True)


started = []  # every Snakemake that submits, so that none outlives its SLURM


class Run:
    """A Snakemake that submits the jobs of a project, and what it tells."""

    def __init__(self, project, *words):
        self.file = project.path("told.txt")
        with open(self.file, "w") as told:
            command = [sys.executable, "-c", SNAKEMAKE, "--profile", "slurm", *words]
            self.process = subprocess.Popen(command, cwd=project.folder, stdout=told, stderr=told)
        started.append(self.process)

    def told(self):
        return " ".join(self.file.read_text().split())

    def wait_for(self, path):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not path.exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.file.read_text()
            time.sleep(0.1)

    def end(self):
        self.process.wait(PATIENCE_SECONDS)
        return self.process.returncode


def restart_controller(folder):
    controller = int(Path(folder, "slurmctld.pid").read_text())
    os.kill(controller, signal.SIGTERM)
    while Path(f"/proc/{controller}").exists():
        time.sleep(0.1)
    time.sleep(OUTAGE_SECONDS)
    subprocess.run([ROOT / "tests/slurm/start.sh", folder], check=True)


def slurm_tells(*command):
    """Rows of fields that a command of SLURM tells, divided by |."""
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split("|") for line in told.splitlines()]


def submissions():
    """What each job has been submitted with, and how that ended: {comment: [(state, minutes, resources)]}."""
    fields = "--format=Comment,State,TimelimitRaw,Partition,ReqTRES"
    found = {}
    for comment, state, minutes, *asked in slurm_tells("sacct", "-XnP", fields):
        found.setdefault(comment, []).append((state.split()[0], int(minutes), " ".join(asked)))
    return found


def test_whatever_happens_to_jobs_a_run_ends_with_the_bytes_of_a_local_one(slurm, tmp_path):
    project = Project.create(tmp_path / "project")
    save_random_weights(project.path("cnn.safetensors"), {"timm": "test_resnet"}, 10)
    shutil.copy(ROOT / "tests/slurm/config.yaml", project.path("few.yaml"))
    few = ("all", "--configfile", "few.yaml")  # which jobs, too, take in the place of config.yaml
    local = project.copy(tmp_path / "local")
    local.run(*few)

    jobs = "scripts/patchwork/jobs.py"
    project.edit(jobs, "def start_processes", f"{STALL.lstrip()}def start_processes")
    project.edit(jobs, "    threading.Thread", "    stall(job)\n    threading.Thread")
    project.edit("rules/evaluate.smk", "mem_mb=growing(8000)", "mem_mb=growing(2000)")
    profile = "slurm/config.yaml"
    minutes = "1 if attempt == 1 and wildcards.model == 'cnn' else 60 * attempt"
    project.edit(profile, "predict: *gpu", f"predict: {{gpu: 1, slurm_partition: gpu, runtime: {minutes}}}")
    project.edit(profile, "train_stage: 8", "train_stage: 1")  # as the local one

    killed = Run(project, *few)
    killed.wait_for(project.path("stalled-kill"))
    killed.process.kill()
    killed.end()
    project.run("--unlock", *few)
    refused = Run(project, *few)
    assert refused.end() == 1
    [command] = re.findall(r"are in the queue and write files here: (scancel --name \S+)", refused.told())
    subprocess.run(command.split(), check=True)
    while slurm_tells("squeue", "--noheader"):
        time.sleep(0.1)

    run = Run(project, *few)
    for kind in ("time", "cancel"):  # both GPUs are theirs, so that hardly a job starts or ends meanwhile
        run.wait_for(project.path(f"stalled-{kind}"))
    restart_controller(slurm)
    running = slurm_tells("squeue", "--noheader", "--format=%i|%k")
    [job] = [job for job, comment in running if "vit_random" in comment]
    subprocess.run(["scancel", job], check=True)
    assert run.end() == 0, run.file.read_text()

    assert len(predictions(local)) == 6
    assert predictions(project) == predictions(local)
    assert project.path("results/report.html").stat().st_size > 100_000
    assert not [*project.path("results").rglob("*.part")]
    assert project.plan(*few) == {}

    made = submissions()
    nameless = made.pop("", [])  # of jobs that were cancelled, whose comment SLURM's accounting may lose
    strips = {name: made.pop(f"rule_predict_wildcards_shapes_{name}") for name in STRIPS}
    for name, (minutes, ends) in STRIPS.items():
        (first, *asked), (second, *asked_again) = (nameless + strips[name])[-2:]
        assert first in ends and second == "COMPLETED"
        assert asked == [minutes, "gpu billing=1,cpu=1,gres/gpu=1,mem=2000M,node=1"]
        assert asked_again == [120, "gpu billing=1,cpu=1,gres/gpu=1,mem=4000M,node=1"]
    assert len(made["rule_shapes-vit_pair-0_predict"]) == 1  # two strips, which took turns with one GPU
    for comment, [*_, (state, _, asked)] in made.items():
        assert state == "COMPLETED"
        takes_gpu = comment.startswith(("rule_train_stage", "rule_measure", "rule_shapes-vit_pair"))
        assert asked.startswith("gpu ") == ("gres/gpu=1" in asked) == takes_gpu
    assert len(made) == 18
