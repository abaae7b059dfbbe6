"""Files and folders are written whole or not at all, whatever happens in between."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest

from conftest import ROOT
from patchwork import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_name_appears_at_the_end(tmp_path):
    with files.whole(tmp_path / "new/deep/a.txt") as temporary:
        temporary.write_text("content")
        assert temporary.parent == tmp_path / "new/deep"  # the same disk, so that renaming is atomic
        assert not (tmp_path / "new/deep/a.txt").exists()
    assert names(tmp_path / "new/deep") == ["a.txt"]
    assert (tmp_path / "new/deep/a.txt").read_text() == "content"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing_new_and_keeps_what_was_there(tmp_path, error):
    (tmp_path / "old.txt").write_text("old")
    for name in ("old.txt", "new.txt"):
        with pytest.raises(error), files.whole(tmp_path / name) as temporary:
            temporary.write_text("half")
            raise error
    with pytest.raises(error), files.whole(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "half.txt").write_text("half")
        raise error
    assert names(tmp_path) == ["old.txt"] and (tmp_path / "old.txt").read_text() == "old"


def test_a_file_that_was_never_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.whole(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_file_is_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("a long old content")
    with files.whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "a long old content"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ({"a": "1", "b": "2"}, {"b": "3", "c/d": "4"}):
        with files.whole(tmp_path / "set") as temporary:
            for name, text in content.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_text(text)
        found = {
            p.relative_to(tmp_path / "set").as_posix(): p.read_text()
            for p in tmp_path.rglob("*")
            if p.is_file()
        }
        assert found == content
    assert names(tmp_path) == ["set"]


def killed_while_writing(path):
    """Let a process write half of a file and die by a kill; its number."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from patchwork import files\n"
        "with files.whole(sys.argv[2]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, ROOT / "scripts", path])
    assert process.returncode == -signal.SIGKILL


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "odd [name]*.txt"
    (tmp_path / "odd [name]*.txt.other").write_text("stays")
    (tmp_path / ".odd n.txt.1.part").write_text("stays")  # what the name would match as a pattern
    before = names(tmp_path)
    killed_while_writing(path)
    assert len(names(tmp_path)) == 3 and not path.exists()
    with files.whole(path) as temporary:
        temporary.write_text("all")
    assert names(tmp_path) == sorted([*before, path.name]) and path.read_text() == "all"


def test_two_living_processes_do_not_disturb_each_other(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from patchwork import files\n"
        "with files.whole(sys.argv[2]) as temporary:\n"
        "    temporary.write_text('theirs')\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    path = tmp_path / "a.txt"
    with subprocess.Popen(
        [sys.executable, "-c", script, ROOT / "scripts", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "ready\n"
        with files.whole(path) as temporary:
            temporary.write_text("ours")
        assert path.read_text() == "ours"
        other.communicate("go on\n")
    assert other.returncode == 0 and path.read_text() == "theirs"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old.txt").write_text("old")
    monkeypatch.setattr(os, call, full)
    for name in ("old.txt", "new.txt"):
        told = f"^No space left on the disk for {tmp_path / name}: make room and run again$"
        with pytest.raises(ValueError, match=told), files.whole(tmp_path / name) as temporary:
            temporary.write_text("new")
    assert names(tmp_path) == ["old.txt"] and (tmp_path / "old.txt").read_text() == "old"


def test_a_write_that_ends_too_early_leaves_nothing(tmp_path):
    """A limit on the size of files stands for the full disk: the write itself fails."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from patchwork import files\n"
        "with files.whole(sys.argv[2]) as temporary:\n"
        "    temporary.write_bytes(bytes(100_000))\n"
    )

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    command = [sys.executable, "-B", "-c", script, ROOT / "scripts", tmp_path / "a.bin"]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert names(tmp_path) == []
    assert subprocess.run(command).returncode == 0 and names(tmp_path) == ["a.bin"]
