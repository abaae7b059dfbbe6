"""Files and folders that are written whole or not at all, and read only if they are whole."""

import errno
import glob
import os
import shutil
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psutil

HOST = socket.gethostname().replace(".", "-")  # numbers of processes are a host's own


@contextmanager
def whole(path):
    """Give a temporary path beside `path` to write to; it takes the name `path` when all went well.

    Works for a file and for a folder. The temporary name belongs to this process, so two jobs that make
    the same thing never mix their bytes. After an error nothing is left behind, and what a killed process
    left is removed by the next one on its host that writes `path`.
    Raises ValueError naming `path` if the disk is full.
    """
    path = Path(path)
    own = f".{path.name}.{HOST}."
    temporary = path.with_name(f"{own}{os.getpid()}.part")
    try:
        with room(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in path.parent.glob(f"{glob.escape(own)}*.part*"):
                if not alive(left.name.removeprefix(own).split(".")[0]):
                    remove(left)
            yield temporary
            flush(temporary)
            if temporary.is_dir() and path.is_dir():
                shutil.rmtree(path)  # a folder cannot be renamed over one that has files in it
            os.replace(temporary, path)
    except BaseException:
        for left in path.parent.glob(f"{glob.escape(temporary.name)}*"):  # DuckDB keeps a log beside its file
            remove(left)
        raise


@contextmanager
def room(path):
    """Raise ValueError naming `path` if what is written there in this context does not fit on the disk."""
    try:
        yield
    except Exception as error:
        if not of_full_disk(error, path):
            raise
        raise ValueError(f"No space left on the disk for {path}: make room and run again") from error


def of_full_disk(error, path):
    """Whether an error came of a full disk."""
    told = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    if told or os.strerror(errno.ENOSPC) in str(error):
        return True
    # numpy and torch tell of bytes that they miss, not why.
    folder = next(parent for parent in Path(path).absolute().parents if parent.is_dir())
    return isinstance(error, OSError | RuntimeError) and os.statvfs(folder).f_bavail == 0


@contextmanager
def reading(path):
    """Raise ValueError naming `path` if what reads it in this context finds it cut short or garbled.

    What the system says of it (it is not there, may not be read), and of memory, is told as it is.
    """
    try:
        yield
    except (MemoryError, AttributeError, NameError):  # the last two are mistakes of ours
        raise
    except Exception as error:
        # torch seeks before the start of a file that is cut short: EINVAL
        told_by_system = getattr(error, "errno", None) not in (None, errno.EINVAL)
        if told_by_system or not os.path.exists(path):
            raise
        raise ValueError(f"{path} is damaged: delete it and run again") from error


def check_writable(folder):
    """Raise ValueError naming a folder in which no file can be made; make the folder if it is not there."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"{folder} cannot be written to ({error.strerror})"
        raise ValueError(f"{reason}: make it writable, or a link to a folder that is") from error


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
