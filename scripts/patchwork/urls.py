"""Files that lie on the network."""

import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from patchwork import files, jobs

TIMEOUT_SECONDS = 60  # without a byte
CHUNK_BYTES = 1 << 20


class Unreachable(ValueError):
    """A URL cannot be fetched."""


class Redirects(HTTPRedirectHandler):
    """Follows redirects to the network alone, and never from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urlsplit(newurl).scheme not in {"https", req.type}:
            raise URLError(f"it leads from {req.type} to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def is_url(source):
    return source.startswith(("http://", "https://"))


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
    """Download a file whose bytes must have the given sha256, or first digits of it, to `path`.

    What lies there already is the beginning of the file, or all of it. Raises ValueError naming the URL.
    """
    path = Path(path)
    kept = size(path)
    if not kept or not digest(path).startswith(sha256):
        fetch(url, path)
    if (found := digest(path)).startswith(sha256):
        return
    path.unlink()
    if kept:  # it was the beginning of something else
        return download(url, sha256, path)
    raise ValueError(f"{url} is not the file that the config means: its sha256 is {found}, not {sha256}")


def fetch(url, path):
    """Download a file to `path`, which is the whole file only when this returns.

    What lies there already is taken for its beginning. A connection that breaks, or from which nothing comes
    for TIMEOUT_SECONDS, is made anew as long as each brings something. Raises Unreachable naming the URL.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        before = size(path)
        try:
            return receive(url, path)
        except HTTPError as error:
            if error.code != 416 or not before:
                raise Unreachable(f"{url} cannot be fetched: {error.reason}") from error
            path.unlink()  # longer than the file is
        except (OSError, HTTPException) as error:
            if size(path) <= before:
                reason = getattr(error, "reason", error) or type(error).__name__
                raise Unreachable(f"{url} cannot be fetched: {reason}") from error


def receive(url, path):
    """Append to `path` what one connection brings; ConnectionError if that ends before the file does."""
    first = size(path)
    request = Request(url, headers={"User-Agent": "patchwork"})
    if first:
        request.add_header("Range", f"bytes={first}-")
    with build_opener(Redirects).open(request, timeout=TIMEOUT_SECONDS) as response:
        if response.status != 206:
            first = 0  # the server sends the whole file
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {first}-"):
            raise HTTPException(f"it sends {response.headers.get('Content-Range')}, not from byte {first}")
        length = response.headers.get("Content-Length")
        total = length and first + int(length)
        with (
            files.room(path),
            open(path, "ab" if first else "wb") as file,
            jobs.progress(total=total, initial=first, unit="B", unit_scale=True, desc=path.name) as bar,
        ):
            while chunk := response.read1(CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
    if total and size(path) < total:
        raise ConnectionError(f"it ended after {size(path):,} of {total:,} bytes")


def size(path):
    return path.stat().st_size if path.exists() else 0


def digest(path):
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
