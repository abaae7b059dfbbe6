"""Trainings of several processes, by torchrun on the CPU: one and the same training as of one."""

import math
import os
import subprocess
import sys

import pytest
import torch

from conftest import ROOT
from patchwork import checkpoints, models
from test_training import RESNET, VIT, draw_folder, same


@pytest.fixture
def folder(tmp_path):
    return draw_folder(tmp_path / "images")


TOGETHER = """
import sys
sys.path[:0] = sys.argv[1:3]
import torch
from pathlib import Path
from patchwork import checkpoints, training
from test_training import COMPUTE, PLAIN, RICH, VIT, RESNET
folder, out, entry, recipe, stop = Path(sys.argv[3]), sys.argv[4], *sys.argv[5:8]
recipe = {"PLAIN": PLAIN, "RICH": RICH}[recipe]
entry = {"VIT": {**VIT, "options": VIT["options"] | {"proj_drop_rate": 0}}, "RESNET": RESNET}[entry]
torch.set_num_threads(1)
with training.joined_processes(COMPUTE):
    run = training.Training(entry, folder, "run", recipe, compute=COMPUTE)
    kept = Path(out, "kept.pt")
    if kept.exists():
        run.resume(checkpoints.load(kept, ""))
    class Keeper:
        steps = int(stop)
        def offer(self, checkpoint):
            self.steps -= 1
            if self.steps == 0:
                checkpoints.save(kept, checkpoint())
    run.run(3 if int(stop) == 0 else 2, Keeper())
    checkpoints.save(Path(out, f"{training.rank()}.pt"), run.checkpoint())
"""


def together(processes, folder, out, entry="VIT", recipe="PLAIN", stop=0):
    """The checkpoints of every process of a training under torchrun."""
    out.mkdir(exist_ok=True)
    script = out / "together.py"
    script.write_text(TOGETHER)
    words = [str(ROOT / "scripts"), str(ROOT / "tests"), str(folder), str(out), entry, recipe, str(stop)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run(
        [sys.executable, *torchrun, str(script), *words],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return [checkpoints.load(out / f"{rank}.pt") for rank in range(processes)]


def test_two_processes_train_as_one(folder, tmp_path):
    """Without what is drawn by process (drop out, mixing) or normalised by process (batch norm)."""
    [one] = together(1, folder, tmp_path / "one")
    two = together(2, folder, tmp_path / "two")
    assert same(two[0]["task"]["weights"], two[1]["task"]["weights"])
    for first, second in zip(one["metrics"], two[0]["metrics"], strict=True):
        assert math.isclose(first["loss"], second["loss"], rel_tol=1e-4)
        assert first["top1"] == second["top1"]


@pytest.mark.parametrize("entry", ["RESNET", pytest.param("VIT", marks=pytest.mark.slow)])
def test_two_processes_resume_with_the_same_bits(folder, tmp_path, entry):
    whole = together(2, folder, tmp_path / "whole", entry, "RICH")
    together(2, folder, tmp_path / "cut", entry, "RICH", stop=4)
    rest = together(2, folder, tmp_path / "cut", entry, "RICH")
    assert same(whole[0]["ema"]["weights"], rest[0]["ema"]["weights"])
    assert [row["loss"] for row in whole[0]["metrics"]] == [row["loss"] for row in rest[1]["metrics"]]
    parameters = dict(models.create(VIT if entry == "VIT" else RESNET, 2).named_parameters())
    for first, second in zip(whole, rest, strict=True):
        assert same(first["task"]["weights"], second["task"]["weights"])
    first, second = (checkpoint["task"]["weights"] for checkpoint in rest)
    assert all(torch.equal(first[name], second[name]) for name in parameters)
