"""Files that lie on the network."""

import fcntl
import hashlib
import json
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from patchwork import files, jobs

UNKNOWN = "unknown"  # a sha256 that no publisher tells
TIMEOUT_SECONDS = 60  # without a byte
CHUNK_BYTES = 1 << 20
MARKS = "ETag", "Last-Modified"  # what a server tells of a file that changes when the file does


class Unreachable(ValueError):
    """A URL cannot be fetched."""


class Redirects(HTTPRedirectHandler):
    """Follows redirects to the network alone, and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(newurl).scheme not in {"https", req.type}:
            raise URLError(f"it leads from {req.type} to {newurl}")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found:
            found.method = req.get_method()  # urllib would ask for the whole file after a HEAD
        return found


def is_url(source):
    return source.startswith(("http://", "https://"))


def is_safe(url):
    """Whether nobody between here and the server of a URL can change what it sends."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1")


def hash_in_name(url):
    """The first digits of the sha256 that the name of a file tells, as torch names its weights
    (resnet50-0676ba61.pth); None if there are less than eight."""
    told = re.search(r"-([0-9a-f]{8,64})\.", Path(urlsplit(url).path).name)
    return told[1] if told else None


def length(url):
    """How many bytes a file has, by its server; None if that cannot be told."""
    request = Request(url, headers={"User-Agent": "patchwork"}, method="HEAD")
    try:
        with build_opener(Redirects).open(request, timeout=TIMEOUT_SECONDS) as response:
            told = response.headers.get("Content-Length")
    except (OSError, HTTPException):
        return None
    return int(told) if told else None


def download(url, sha256, path):
    """Download a file to `path`, unless it lies there whole, and return its sha256.

    sha256: that its bytes must have, or first digits of it; None if nobody tells it. Jobs that want the same
    file wait for each other. A download that broke off is gone on with, by whichever job comes next.
    Raises ValueError naming the URL.
    """
    path = Path(path)
    if found := whole(path, sha256):
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := whole(path, sha256):  # another job has fetched it meanwhile
            return found
        unfinished = path.with_name(f".{path.name}.unfinished")
        kept = size(unfinished)
        fetch(url, unfinished, checked=sha256 is not None)
        found = whole(unfinished, sha256)
        if kept and not found:  # it was the beginning of something else
            unfinished.unlink()
            fetch(url, unfinished)
            found = whole(unfinished, sha256)
        if not found:
            found = digest(unfinished)
            unfinished.unlink()
            raise ValueError(
                f"{url} is not the file that the config means: its sha256 is {found}, not {sha256}"
            )
        unfinished.replace(path)
    return found


def whole(path, sha256):
    """The sha256 of a file, if that is the right one; None if it is not, or no file is there."""
    found = digest(path) if path.is_file() else None
    return found if found and found.startswith(sha256 or "") else None


def fetch(url, path, checked=True):
    """Download a file to `path`, which is the whole file only when this returns.

    What lies there already is taken for its beginning, if the server does not tell otherwise. A connection
    that breaks, or from which nothing comes for TIMEOUT_SECONDS, is made anew as long as each brings
    something.

    checked: whether a digest will tell if the bytes are right. If none does, the server has to tell how long
    the file is, and a part of it is gone on with only if the server tells that it is still the same file.
    Raises Unreachable naming the URL.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (checked or mark(version(path))):
        path.unlink(missing_ok=True)
    while True:
        before = size(path)
        try:
            receive(url, path, checked)
            noted(path).unlink(missing_ok=True)
            return
        except HTTPError as error:
            if error.code != 416 or not before:
                raise Unreachable(f"{url} cannot be fetched: {error.reason}") from error
            path.unlink()  # longer than the file is
        except (OSError, HTTPException) as error:
            if size(path) <= before or not (checked or mark(version(path))):
                reason = getattr(error, "reason", error) or type(error).__name__
                raise Unreachable(f"{url} cannot be fetched: {reason}") from error


def receive(url, path, checked):
    """Append to `path` what one connection brings; ConnectionError if that ends before the file does."""
    first = size(path)
    known = version(path) if first else {}
    request = Request(url, headers={"User-Agent": "patchwork"})
    if first:
        request.add_header("Range", f"bytes={first}-")
        if told := mark(known):  # of another file the server then sends the whole
            request.add_header("If-Range", told)
    with build_opener(Redirects).open(request, timeout=TIMEOUT_SECONDS) as response:
        if response.status != 206:
            first = 0  # the server sends the whole file
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {first}-"):
            raise HTTPException(f"it sends {response.headers.get('Content-Range')}, not from byte {first}")
        length = response.headers.get("Content-Length")
        total = length and first + int(length)
        now = {name: response.headers[name] for name in MARKS if name in response.headers} | {"bytes": total}
        if first and any(now.get(name, told) != told for name, told in known.items()):
            path.unlink()  # the server knows no If-Range, and has another file now
            return receive(url, path, checked)
        if not (checked or total or response.chunked):
            raise HTTPException("its server does not tell how long it is; give its `sha256`")
        with (
            files.room(path),
            open(path, "ab" if first else "wb") as file,
            jobs.progress(total=total, initial=first, unit="B", unit_scale=True, desc=path.name) as bar,
        ):
            if not first:
                noted(path).write_text(json.dumps(now))
            while chunk := response.read1(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
    if total and size(path) < total:
        raise ConnectionError(f"it ended after {size(path):,} of {total:,} bytes")


def noted(path):
    """Where it is kept what the server told of a file that is not whole yet."""
    return path.with_name(f"{path.name}.version")


def version(path):
    """By what the server would know the file again of which the beginning lies at `path`: {header: value}."""
    try:
        return json.loads(noted(path).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def mark(version):
    """The value of If-Range: what changes with every byte of a file, or its time; None without."""
    etag = version.get("ETag", "")
    return etag if etag.startswith('"') else version.get("Last-Modified")


def size(path):
    return path.stat().st_size if path.exists() else 0


def digest(path):
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
