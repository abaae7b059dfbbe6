"""A network that dies, or lies: connections that are cut, that stall, that bring something else."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from threading import Event
from urllib.error import URLError
from urllib.request import Request

import numpy as np
import pytest

from conftest import make_room, served
from patchwork import urls
from test_fetching import no_proxy  # noqa: F401 - a fixture

CONTENT = np.random.default_rng(0).bytes(5000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Unsteady(BaseHTTPRequestHandler):
    """Serves CONTENT, or what a fault `other` says, with headers `marks`; each request meets the next of
    `faults`, while there are some. If-Range is heeded only by one that `heeds`."""

    heeds = True

    def __init__(self, faults, asked, ended, marks, *rest):
        self.faults, self.asked, self.ended, self.marks = faults, asked, ended, marks
        super().__init__(*rest)

    def do_GET(self):
        self.asked.append(self.headers.get("Range"))
        fault, detail = self.faults.pop(0) if self.faults else ("none", None)
        if fault == "remark":  # it has another file from now on
            self.marks.update(detail)
        if fault == "status":
            return self.send_error(detail)
        if fault == "redirect":
            self.send_response(302)
            self.send_header("Location", detail)
            return self.end_headers()
        content = detail if fault == "other" else CONTENT
        first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if first and first >= len(content):
            return self.send_error(416)
        ranged = first and fault != "no range"
        if self.heeds and self.headers.get("If-Range") not in (None, *self.marks.values()):
            ranged = False
        body = content[first:] if ranged else content
        self.send_response(206 if ranged else 200)
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        for name, value in self.marks.items():
            self.send_header(name, value)
        if ranged:
            begins = 0 if fault == "wrong range" else first
            self.send_header("Content-Range", f"bytes {begins}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(body[: detail if fault in ("cut", "stall") else None])
        if fault == "stall":
            self.wfile.flush()
            self.ended.wait(30)
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving(*faults, marks=None):
    """(URL, ranges that were asked for) of a server on this machine."""
    asked, ended = [], Event()
    handler = partial(Unsteady, [*faults], asked, ended, marks or {})
    with served(handler) as address:
        try:
            yield f"{address}/w.bin", asked
        finally:
            ended.set()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept/w.bin"


@pytest.fixture
def part(path):
    """Where what has come of it lies, until it is whole."""
    return path.with_name(".w.bin.unfinished")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(urls, "TIMEOUT_SECONDS", 0.3)


@pytest.mark.parametrize("fault", ["cut", "stall"])
def test_a_connection_that_breaks_is_made_anew_and_goes_on(path, fault):
    with serving((fault, 1000), (fault, 1500)) as (url, asked):
        urls.download(url, SHA256, path)
    assert path.read_bytes() == CONTENT
    assert asked == [None, "bytes=1000-", "bytes=2500-"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (("cut", 0), "it ended after 1,000 of 5,000 bytes"),
        (("stall", 0), "timed out"),
        (("status", 503), "Service Unavailable"),
    ],
)
def test_what_came_before_a_failure_is_gone_on_with_by_the_next_run(path, part, fault, reason):
    with serving(("cut", 1000), fault) as (url, asked):
        with pytest.raises(urls.Unreachable, match=f"^{url} cannot be fetched: {reason}$"):
            urls.download(url, SHA256, path)
        assert part.read_bytes() == CONTENT[:1000] and not path.exists()
        urls.download(url, SHA256, path)
        assert path.read_bytes() == CONTENT and asked == [None, "bytes=1000-", "bytes=1000-"]
        urls.download(url, SHA256, path)
        assert len(asked) == 3  # all of it is there


def test_a_server_that_knows_no_ranges_begins_anew(path):
    with serving(("cut", 1000), ("no range", None)) as (url, asked):
        urls.download(url, SHA256, path)
    assert path.read_bytes() == CONTENT and asked == [None, "bytes=1000-"]


@pytest.mark.parametrize("length", [1000, 5000, 6000])
@pytest.mark.parametrize("place", ["path", "part"])
def test_something_else_is_thrown_away(path, part, place, length):
    path.parent.mkdir()
    {"path": path, "part": part}[place].write_bytes(bytes(length))
    with serving() as (url, _):
        assert urls.download(url, SHA256, path) == SHA256
    assert path.read_bytes() == CONTENT and not part.exists()


def test_other_bytes_are_refused_and_not_kept(path, part):
    told = "^http://.*/w.bin is not the file that the config means: its sha256 is"
    with serving(("other", b"x" * 5000)) as (url, _), pytest.raises(ValueError, match=told):
        urls.download(url, SHA256, path)
    assert not path.exists() and not part.exists()


# ---- without a digest, and of another version ----

OLD, NEW = (
    {"ETag": f'"{name}"', "Last-Modified": f"Sun, 29 Nov 2026 10:00:0{n} GMT"} for n, name in enumerate("ab")
)
OTHER = CONTENT[::-1]


def test_without_a_digest_the_whole_file_is_taken_and_its_digest_told(path):
    with serving() as (url, asked):
        assert urls.download(url, None, path) == SHA256
        assert urls.download(url, None, path) == SHA256 and len(asked) == 1
    assert path.read_bytes() == CONTENT


def test_without_a_digest_a_file_that_ends_early_is_no_file(path):
    with serving(("cut", 1000)) as (url, asked):
        with pytest.raises(urls.Unreachable, match=r"it ended after 1,000 of 5,000 bytes$"):
            urls.download(url, None, path)
        assert not path.exists()
        # The server tells nothing by which the file would be known again, so no part of it is gone on with.
        assert urls.download(url, None, path) == SHA256 and asked == [None, None]


def test_without_a_digest_a_server_has_to_tell_the_length(path):
    with serving(("no length", None), ("no length", None)) as (url, _):
        with pytest.raises(
            urls.Unreachable, match=r"its server does not tell how long it is; give its `sha256`$"
        ):
            urls.download(url, None, path)
        urls.download(url, SHA256, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("marks", [{"ETag": '"a"'}, {"Last-Modified": OLD["Last-Modified"]}, OLD])
def test_without_a_digest_a_file_that_is_known_again_is_gone_on_with(path, marks):
    with serving(("cut", 1000), ("status", 503), marks=marks) as (url, asked):
        with pytest.raises(urls.Unreachable, match="Service Unavailable"):
            urls.download(url, None, path)
        assert urls.download(url, None, path) == SHA256
    assert asked == [None, "bytes=1000-", "bytes=1000-"]


def test_a_mark_that_may_stay_the_same_is_none():
    assert urls.mark({"ETag": 'W/"a"'}) is None and urls.mark({}) is None
    assert urls.mark({"ETag": 'W/"a"', "Last-Modified": "then"}) == "then"


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("change", [NEW, {"ETag": NEW["ETag"]}, {"Last-Modified": NEW["Last-Modified"]}])
def test_another_version_of_a_file_is_not_taken_for_its_end(path, monkeypatch, heeds, change):
    monkeypatch.setattr(Unsteady, "heeds", heeds)
    broken = serving(("cut", 1000), ("status", 503), marks={**OLD})
    with broken as (url, _), pytest.raises(urls.Unreachable):
        urls.download(url, None, path)
    with serving(("remark", change), marks={**OLD}) as (url, asked):
        monkeypatch.setattr("test_urls.CONTENT", OTHER)
        assert urls.download(url, None, path) == hashlib.sha256(OTHER).hexdigest()
    assert path.read_bytes() == OTHER and asked[0] == "bytes=1000-"


def test_a_file_of_another_length_is_another_version(path, part):
    with serving(("cut", 1000), ("status", 503)) as (url, _), pytest.raises(urls.Unreachable):
        urls.fetch(url, path)
    with serving(("other", CONTENT + b"more"), ("other", CONTENT + b"more")) as (url, asked):
        urls.fetch(url, path)
    assert path.read_bytes() == CONTENT + b"more" and asked == ["bytes=1000-", None]


def test_jobs_that_want_the_same_file_wait_for_each_other(path):
    with serving() as (url, asked), ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda _: urls.download(url, SHA256, path), range(4))]
    assert found == [SHA256] * 4 and asked == [None]
    assert sorted(each.name for each in path.parent.iterdir()) == [".w.bin.lock", "w.bin"]


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://x.org/w", True),
        ("http://x.org/w", False),
        ("http://localhost:80/w", True),
        ("http://127.0.0.1/w", True),
        ("http://localhost.x.org/w", False),
        ("http://x.org/127.0.0.1", False),
        ("http://127.0.0.1@x.org/w", False),
    ],
)
def test_what_is_sent_without_encryption_is_safe_on_this_machine_alone(url, safe):
    assert urls.is_safe(url) == safe


# ---- lies ----


def test_another_part_than_was_asked_for_is_refused(path):
    told = "it sends bytes 0-4999/5000, not from byte 1000$"
    with serving(("cut", 1000), ("wrong range", None)) as (url, _), pytest.raises(ValueError, match=told):
        urls.fetch(url, path)
    assert path.read_bytes() == CONTENT[:1000]


def test_a_redirect_on_the_network_is_followed(path):
    with serving() as (target, asked), serving(("cut", 1000), ("redirect", target)) as (url, _):
        urls.download(url, SHA256, path)
    assert path.read_bytes() == CONTENT and asked == ["bytes=1000-"]


@pytest.mark.parametrize("target", ["file://{}/secret", "ftp://127.0.0.1/w.bin", "data:,secret"])
def test_a_redirect_to_anything_else_is_refused(path, tmp_path, target):
    (tmp_path / "secret").write_text("secret")
    told = "^http://.*/w.bin cannot be fetched: .+"
    redirect = ("redirect", target.format(tmp_path))
    with serving(redirect) as (url, _), pytest.raises(ValueError, match=told) as error:
        urls.fetch(url, path)
    assert "\n" not in str(error.value) and not path.exists()


@pytest.mark.parametrize(("before", "after", "follows"), [
    ("https", "https", True), ("http", "https", True), ("http", "http", True), ("https", "http", False),
])  # fmt: skip
def test_a_redirect_never_leaves_https(before, after, follows):
    redirect = partial(urls.Redirects().redirect_request, Request(f"{before}://a/b"), None, 302, "Found", {})
    if follows:
        assert redirect(f"{after}://c/d").full_url == f"{after}://c/d"
    else:
        with pytest.raises(URLError, match="it leads from https to http://c/d"):
            redirect(f"{after}://c/d")


def test_a_full_disk_is_told_as_such_and_what_came_is_kept(small_disk, monkeypatch):
    monkeypatch.setattr("test_urls.CONTENT", bytes(1 << 20))
    path = small_disk / "w.bin"
    told = f"^No space left on the disk for {path}: make room and run again$"
    with serving() as (url, _):
        with pytest.raises(ValueError, match=told):
            urls.fetch(url, path)
        kept = path.stat().st_size
        make_room(small_disk)
        urls.fetch(url, path)
    assert 0 < kept < 1 << 20 and path.read_bytes() == bytes(1 << 20)
