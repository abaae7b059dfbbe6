"""Weights from a file, a URL and the hub, all of them served from this machine."""

import hashlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler

import pytest
import torch
from safetensors.torch import save, save_file

from conftest import ROOT, served
from patchwork import fetching, models
from test_models import Trap

ENTRY = {
    "timm": "vit_tiny_patch16_224",
    "options": {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 5},
}


class Shelf(BaseHTTPRequestHandler):
    """Serves `files` {path: bytes} with the headers of the hub; what it lacks is a 404."""

    def __init__(self, files, asked, *rest):
        self.files, self.asked = files, asked
        super().__init__(*rest)

    def answer(self, body):
        content = self.files.get(self.path)
        self.asked.append((self.command, self.path))
        self.send_response(404 if content is None else 200)
        if content is None and "/resolve/" in self.path:
            self.send_header("X-Error-Code", "EntryNotFound")
        content = content or b""
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def log_message(self, *_):
        pass


def elsewhere(path):
    """Where the hub sends who asks for a file."""
    return "/elsewhere" + path.replace("/resolve/", "/")


class Hub(Shelf):
    """The hub as it serves large files: to who has the token "secret", from another host, which is to know
    nothing of it."""

    def answer(self, body):
        content, token = self.files.get(self.path), self.headers.get("Authorization")
        large = "/resolve/" in self.path
        if (large and token != "Bearer secret") or (self.path.startswith("/elsewhere/") and token):
            return self.send_error(401)
        if not large or content is None:
            return super().answer(body)
        self.files[elsewhere(self.path)] = content
        self.asked.append((self.command, self.path))
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.server.server_port}{elsewhere(self.path)}")
        self.send_header("Content-Length", "0")
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()


@contextmanager
def serving(files, handler=Shelf):
    """(address, list of what was asked) of a server on this machine."""
    asked = []
    with served(partial(handler, files, asked)) as address:
        yield address, asked


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def state(entry=ENTRY, seed=3):
    torch.manual_seed(seed)
    return models.create(entry).state_dict()


def fetched(entry, tmp_path):
    fetching.fetch("net", entry, tmp_path / "out.safetensors")
    return models.load(tmp_path / "out.safetensors")[0]


def cached(tmp_path):
    """The names of the files of URLs that are kept; of each there may be a lock."""
    names = {path.name for path in (tmp_path / "torch/hub/checkpoints").iterdir()}
    return {name for name in names if not name.endswith(".lock")}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ---- files ----


def test_a_file_of_either_kind_gives_the_same_weights(tmp_path):
    save_file(state(), tmp_path / "w.safetensors")
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in state().items()}}, tmp_path / "w.pth"
    )
    for name in ("w.safetensors", "w.pth"):
        assert same(fetched(ENTRY | {"weights": str(tmp_path / name)}, tmp_path), state())


def test_what_is_missing_or_does_not_fit_leaves_nothing(tmp_path):
    save_file(state(), tmp_path / "w.safetensors")
    wide = ENTRY | {
        "options": ENTRY["options"] | {"embed_dim": 48},
        "weights": str(tmp_path / "w.safetensors"),
    }
    with pytest.raises(ValueError, match=r"w\.safetensors does not fit VisionTransformer: .* of shape"):
        fetched(wide, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no weights file .*none\.pth"):
        fetched(ENTRY | {"weights": str(tmp_path / "none.pth")}, tmp_path)
    assert not (tmp_path / "out.safetensors").exists()


def test_another_number_of_classes_is_refused_and_not_adapted(tmp_path):
    save_file(state(), tmp_path / "w.safetensors")
    seven = ENTRY | {
        "options": ENTRY["options"] | {"num_classes": 7},
        "weights": str(tmp_path / "w.safetensors"),
    }
    with pytest.raises(ValueError, match=r"head\.weight of shape \(5, 24\) instead of \(7, 24\)"):
        fetched(seven, tmp_path)


# ---- URLs ----


def url_entry(url, content):
    return ENTRY | {"weights": url, "sha256": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("path", ["/w.safetensors", "/deep/w.safetensors?download=true"])
def test_a_url_with_the_right_hash_is_fetched(tmp_path, path):
    content = save(state())
    with serving({path: content}) as (address, asked):
        assert same(fetched(url_entry(address + path, content), tmp_path), state())
    assert asked == [("GET", path)]


def test_a_url_with_another_hash_is_refused_and_named(tmp_path):
    content = save(state())
    with serving({"/w.safetensors": content}) as (address, _):
        url = f"{address}/w.safetensors"
        with pytest.raises(ValueError, match=f"^{url} is not the file that the config means"):
            fetched(url_entry(url, content + b"x"), tmp_path)
    assert not cached(tmp_path) and not (tmp_path / "out.safetensors").exists()


def test_a_url_that_is_not_there_is_named(tmp_path):
    with serving({}) as (address, _):
        url = f"{address}/w.safetensors"
        with pytest.raises(ValueError, match=f"^{url} cannot be fetched: Not Found"):
            fetched(url_entry(url, b""), tmp_path)
    with pytest.raises(ValueError, match=f"^{url} cannot be fetched: .*refused"):  # the server is gone
        fetched(url_entry(url, b""), tmp_path)


def test_a_server_that_hangs_up_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Shelf, "answer", lambda self, body: setattr(self, "close_connection", True))
    with serving({}) as (address, _):
        url = f"{address}/w.safetensors"
        with pytest.raises(ValueError, match=f"^{url} cannot be fetched: ") as error:
            fetched(url_entry(url, b""), tmp_path)
    assert "\n" not in str(error.value)


def short(content):
    """The first digits of the sha256, as torch puts them into the names of files."""
    return hashlib.sha256(content).hexdigest()[:8]


def test_a_name_that_tells_the_first_digits_of_the_hash_is_enough(tmp_path):
    content = save(state())
    right, wrong = f"/net-{short(content)}.safetensors", f"/net-{short(content + b'x')}.safetensors"
    with serving({right: content, wrong: content}) as (address, _):
        assert same(fetched(ENTRY | {"weights": address + right}, tmp_path), state())
        told = f"^{address}{wrong} is not the file that the config means: .*, not {short(content + b'x')}$"
        with pytest.raises(ValueError, match=told):
            fetched(ENTRY | {"weights": address + wrong}, tmp_path)
    assert cached(tmp_path) == {right[1:]}


def test_what_was_fetched_is_kept_for_other_models_and_without_its_server(tmp_path):
    content = save(state())
    named, plain = f"/net-{short(content)}.safetensors", "/w.safetensors"
    with serving({named: content, plain: content}) as (address, asked):
        entries = [ENTRY | {"weights": address + named}, url_entry(address + plain, content)]
        for entry in entries:
            fetched(entry, tmp_path)
    assert asked == [("GET", named), ("GET", plain)]
    assert all(same(fetched(entry, tmp_path), state()) for entry in entries)
    assert len(cached(tmp_path)) == 2 and named[1:] in cached(tmp_path)  # by that name torch finds it, too
    (tmp_path / f"torch/hub/checkpoints{named}").write_bytes(b"spoilt")
    with pytest.raises(ValueError, match=r"cannot be fetched: .*refused"):
        fetched(entries[0], tmp_path)


def test_files_of_one_name_from_two_places_are_two(tmp_path):
    contents = {f"/{place}/w.pth.tar": save(state(seed=seed)) for seed, place in enumerate("ab")}
    with serving(contents) as (address, _):
        names = {fetching.kept(address + path).name for path in contents}
    assert len(names) == 2 and all(name.endswith("-w.pth.tar") for name in names)
    name = "resnet50_train_60_epochs-c8e5653e.pth.tar"
    assert fetching.kept(f"https://x.org/{name}?raw=true").name == name


def test_an_unknown_hash_is_told_and_saved_with_the_weights(tmp_path):
    torch.save({"state_dict": state()}, tmp_path / "w.pth.tar")
    content = (tmp_path / "w.pth.tar").read_bytes()
    with serving({"/w.pth.tar": content}) as (address, asked):
        entry = ENTRY | {"weights": f"{address}/w.pth.tar", "sha256": "unknown"}
        told = fetching.fetch("net", entry, tmp_path / "out.safetensors")
    found, metadata = models.load(tmp_path / "out.safetensors")
    assert told == hashlib.sha256(content).hexdigest() and json.loads(metadata["sha256"]) == told
    assert same(found, state())
    # Pasted into the config it needs no second download.
    assert same(fetched(entry | {"sha256": told}, tmp_path), state()) and asked == [("GET", "/w.pth.tar")]


def test_what_is_no_file_of_weights_is_not_kept_where_no_hash_is_known(tmp_path):
    with serving({"/w.pth": b"<html>Log in first</html>"}) as (address, _):
        entry = ENTRY | {"weights": f"{address}/w.pth", "sha256": "unknown"}
        with pytest.raises(ValueError, match="is not a plain file of weights and was not run"):
            fetched(entry, tmp_path)
    assert not cached(tmp_path)


def test_the_hash_of_a_file_is_saved_with_its_weights(tmp_path):
    save_file(state(), tmp_path / "w.safetensors")
    fetched(ENTRY | {"weights": str(tmp_path / "w.safetensors")}, tmp_path)
    told = json.loads(models.load(tmp_path / "out.safetensors")[1]["sha256"])
    assert told == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


def at_url(url):
    """An entry whose weights timm has from a URL, as those of its older models."""
    overlay = {"url": url, "hf_hub_id": None, "num_classes": 5, "input_size": (3, 32, 32)}
    return ENTRY | {"options": ENTRY["options"] | {"pretrained_cfg_overlay": overlay}}


def test_urls_of_timm_are_kept_by_torch_and_their_hash_is_checked(tmp_path):
    torch.save(state(), tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    # What looks like a hash in the last one is a number of epochs.
    right, wrong, none = f"/net-{short(content)}.pth", "/net-0123abcd.pth", "/net-300e.pth"
    with serving(dict.fromkeys([right, wrong, none], content)) as (address, asked):
        for path in (right, none):
            assert same(fetched(at_url(address + path), tmp_path), state())
        with pytest.raises(ValueError, match=r"^timm's weights of .* cannot be used \(invalid hash value"):
            fetched(at_url(address + wrong), tmp_path)
    assert asked == [("GET", path) for path in (right, none, wrong)]
    assert same(fetched(at_url(address + right), tmp_path), state())  # from the cache: the server is gone


def test_a_head_for_other_classes_is_not_left_to_chance(tmp_path):
    torch.save(state(), tmp_path / "w.pth")
    with serving({"/net.pth": (tmp_path / "w.pth").read_bytes()}) as (address, _):
        entry = at_url(f"{address}/net.pth")
        other = entry | {"options": entry["options"] | {"num_classes": 7}}
        with pytest.raises(ValueError, match=r"^timm's weights of .* tell 5 classes apart, not 7: leave out"):
            fetched(other, tmp_path)
        headless = entry | {"options": entry["options"] | {"num_classes": 0}}
        assert fetched(headless, tmp_path).keys() < state().keys()


# ---- none ----


def test_random_weights_belong_to_the_name_of_the_model(tmp_path):
    entry = ENTRY | {"weights": "random"}
    found = {}
    for number, name in enumerate(["one", "one", "two"]):
        torch.manual_seed(number)  # what was drawn before does not matter, and nothing else is changed
        expected = torch.rand(1, generator=torch.Generator().manual_seed(number))
        fetching.fetch(name, entry, tmp_path / f"{number}.safetensors")
        assert torch.equal(torch.rand(1), expected)
        found[number] = models.load(tmp_path / f"{number}.safetensors")[0]
    assert same(found[0], found[1])
    weights = {name for name, value in found[0].items() if value.is_floating_point() and value.std() > 0}
    assert len(weights) > 3 and not any(torch.equal(found[0][name], found[2][name]) for name in weights)
    assert models.build(entry, tmp_path / "0.safetensors").origin["weights"]


# ---- the hub ----

FETCH = """
import json, sys
sys.path.insert(0, sys.argv[1])
from patchwork import fetching
for name in sys.argv[3:]:
    try:
        fetching.fetch(name, {"timm": name}, f"{sys.argv[2]}/{name}.safetensors")
        print(json.dumps([name, None]))
    except ValueError as error:
        print(json.dumps([name, str(error)]))
"""
WEIGHTS = "/timm/test_vit.r160_in1k/resolve/main/model.safetensors"


def fetch_elsewhere(folder, names, **environment):
    """{name: error or None} of fetches by a new process: the hub reads its environment once."""
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, ROOT / "scripts", folder, *names],
        env=kept | {"HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(map(json.loads, done.stdout.splitlines()))


def test_the_hub_fills_a_cache_that_works_without_it(tmp_path):
    published = state({"timm": "test_vit"})
    cache = {"HF_HOME": str(tmp_path / "cache")}
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "trap.bin")
    trap = WEIGHTS.replace("test_vit", "test_vit3").replace("model.safetensors", "pytorch_model.bin")
    files = {WEIGHTS: save(published), trap: (tmp_path / "trap.bin").read_bytes()}
    with serving(files, Hub) as (address, asked):
        names, secret = ["test_vit", "test_vit2", "test_vit3"], {"HF_ENDPOINT": address, "HF_TOKEN": "secret"}
        online = fetch_elsewhere(tmp_path / "online", names, **secret, **cache)
    assert {("GET", elsewhere(path)) for path in (WEIGHTS, trap)} <= {*asked}
    assert online["test_vit"] is None
    assert online["test_vit3"].startswith("timm's weights of test_vit3 cannot be used (")
    assert "\n" not in online["test_vit3"] and not (tmp_path / "sprung").exists()
    names = ["test_vit", "test_resnet", "test_vit4", "test_vit.bogus"]
    offline = fetch_elsewhere(tmp_path / "offline", names, HF_ENDPOINT=address, HF_HUB_OFFLINE="1", **cache)
    assert offline["test_vit"] is None
    for folder in ("online", "offline"):
        assert same(models.load(tmp_path / folder / "test_vit.safetensors")[0], published)
    for name, error in [("test_vit2", online["test_vit2"]), ("test_resnet", offline["test_resnet"])]:
        assert error.startswith(f"the weights of {name} cannot be fetched (")
        assert "\n" not in error and error.endswith("check the network, or give a file: `weights: PATH`")
    for name in ("test_vit4", "test_vit.bogus"):  # the network is not to blame
        assert offline[name].startswith(f"timm's weights of {name} cannot be used (")
        assert "\n" not in offline[name] and "network" not in offline[name]
