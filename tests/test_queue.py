"""Which jobs in SLURM's queue belong to a Snakemake of a folder, as a pretended squeue tells them."""

import pytest

from patchwork import queue

RUNS = "7b0e8c3a-52f1-4c0e-9d0f-6f1f8a3b2c1d", "nightly_0a1b2c3d-1111-4222-8333-444455556666"


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Make `squeue` a script with the given lines."""

    def squeue(script):
        file = tmp_path / "squeue"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return squeue


def test_the_runs_of_a_folder_are_told_and_nothing_else(pretend, tmp_path):
    folder, other = tmp_path / "a folder", tmp_path / "other"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    lines = [
        *(f"{RUNS[0]}|{folder}", f"{RUNS[0]}|{tmp_path / 'link'}", f"{RUNS[1]}|{folder}"),
        *(f"{RUNS[1]}|{other}", f"bash|{folder}", f"snakemake|{folder}"),
    ]
    pretend("\n".join(f"echo '{line}'" for line in lines))
    assert queue.runs(folder) == sorted(RUNS)
    assert queue.runs(tmp_path) == []


def test_a_queue_that_does_not_answer_is_no_empty_queue(pretend, tmp_path):
    pretend("echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ValueError, match=r"squeue fails.*Unable to contact slurm controller"):
        queue.runs(tmp_path)
