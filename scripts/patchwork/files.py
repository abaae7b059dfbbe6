"""Files and folders that are written whole or not at all."""

import glob
import os
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import psutil

HOST = socket.gethostname().replace(".", "-")  # numbers of processes are a host's own


@contextmanager
def whole(path):
    """Give a temporary path beside `path` to write to; it takes the name `path` when all went well.

    Works for a file and for a folder. The temporary name belongs to this process, so two jobs that make
    the same thing never mix their bytes. After an error (a full disk, too) nothing is left behind, and
    what a killed process left is removed by the next one on its host that writes `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(HOST)}.*.part"):
        if not alive(left.suffixes[-2][1:]):
            remove(left)
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}.part")
    try:
        yield temporary
        flush(temporary)
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)  # a folder cannot be renamed over one that has files in it
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def alive(number):
    """Whether another process of this number is still there; our own cannot have written yet."""
    return number.isdigit() and int(number) != os.getpid() and psutil.pid_exists(int(number))


def flush(path):
    """Ask the disk to hold what was written, before its new name says that it does."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())


def remove(path):
    """Remove a file, a folder or nothing."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
