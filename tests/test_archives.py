"""Archives that would write beside their folder, unpacked by torchvision under `sources.guard`."""

import hashlib
import io
import stat
import tarfile
import zipfile

import pytest
from torchvision import datasets
from torchvision.datasets import utils

from patchwork import sources
from test_sources import aircraft, save, write

GOOD = b"an image"


def entry(name, kind=tarfile.REGTYPE, target="", content=b""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size, member.mode = kind, target, len(content), 0o4777
    return member, content


def tar(path, *entries):
    with tarfile.open(path, "w:gz") as archive:
        for member, content in entries:
            archive.addfile(member, io.BytesIO(content))
    return path


# Of each kind of attack the entries of a tar archive; {} is the folder outside.
ATTACKS = {
    "parent": [("../outside/evil", tarfile.REGTYPE, "", b"evil")],
    "deep parent": [("a/b/../../../outside/evil", tarfile.REGTYPE, "", b"evil")],
    "absolute": [("{}/evil", tarfile.REGTYPE, "", b"evil")],
    "folder": [("../outside/evil", tarfile.DIRTYPE, "", b"")],
    "symlink": [("link", tarfile.SYMTYPE, "{}", b""), ("link/evil", tarfile.REGTYPE, "", b"evil")],
    "relative symlink": [("l", tarfile.SYMTYPE, "../outside", b""), ("l/evil", tarfile.REGTYPE, "", b"evil")],
    "symlink to a file": [("l", tarfile.SYMTYPE, "{}/secret", b""), ("l", tarfile.REGTYPE, "", b"evil")],
    "hardlink": [("l", tarfile.LNKTYPE, "../outside/secret", b""), ("l", tarfile.REGTYPE, "", b"evil")],
    "device": [("device", tarfile.CHRTYPE, "", b"")],
    "pipe": [("pipe", tarfile.FIFOTYPE, "", b"")],
}


@pytest.fixture
def places(tmp_path):
    """The folder to unpack to, and one outside of it that holds a secret."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    sources.guard(tmp_path)
    return inside, outside


def untouched(inside, outside):
    """Nothing but files and folders inside, and outside what was there."""
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}
    for path in inside.rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        assert not mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)
        assert mode and path.resolve().is_relative_to(inside)
    return {path.name for path in inside.rglob("*") if path.is_file()}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_tar_archive_does_not_leave_its_folder(places, tmp_path, attack):
    inside, outside = places
    entries = [
        entry(name.format(outside), kind, target.format(outside), content)
        for name, kind, target, content in ATTACKS[attack]
    ]
    path = tar(tmp_path / "a.tar.gz", entry("images/good.png", content=GOOD), *entries)
    try:
        utils.extract_archive(path, inside)
    except tarfile.FilterError as error:
        assert attack in ("parent", "deep parent", "absolute", "folder") and "\n" not in str(error)
    assert "good.png" in untouched(inside, outside)
    assert (inside / "images/good.png").read_bytes() == GOOD


@pytest.mark.parametrize("attack", ["parent", "symlink", "hardlink"])
def test_the_attacks_are_real(places, tmp_path, attack):
    inside, outside = places
    entries = [entry(n.format(outside), k, t.format(outside), c) for n, k, t, c in ATTACKS[attack]]
    with tarfile.open(tar(tmp_path / "a.tar.gz", *entries)) as archive:
        archive.extractall(inside, filter="fully_trusted")
    assert (outside / "evil").exists() or (outside / "secret").read_bytes() == b"evil"


def test_a_zip_archive_does_not_leave_its_folder(places, tmp_path):
    inside, outside = places
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("images/good.png", GOOD)
        for name in ("../outside/evil", f"{outside}/evil", "a/../../outside/evil"):
            archive.writestr(name, b"evil")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(outside))
        archive.writestr("link2/evil", b"evil")
    utils.extract_archive(tmp_path / "a.zip", inside)
    assert {"good.png", "link"} <= untouched(inside, outside)


def test_a_set_whose_archive_would_leave_its_folder_is_named(tmp_path, monkeypatch):
    content = tar(tmp_path / "a.tar.gz", entry("../../../../evil", content=b"evil")).read_bytes()
    monkeypatch.setattr(sources.urls, "fetch", lambda url, path: path.write_bytes(content))
    monkeypatch.setattr(datasets.DTD, "_MD5", hashlib.md5(content).hexdigest())
    told = r"^DTD cannot be fetched \(.*evil.*outside the destination\): try again, or put it in"
    with pytest.raises(ValueError, match=told):
        sources.get("DTD", "train", tmp_path / "a/b/data", download=True)
    assert not [*tmp_path.rglob("evil")]


def test_a_list_of_images_that_leads_out_of_root_is_refused(tmp_path):
    aircraft(tmp_path / "data", None)
    save(tmp_path / "secret.jpg")
    listed = tmp_path / "data/fgvc-aircraft-2013b/data/images_variant_train.txt"
    write(listed, "../../../../secret Cessna 172")
    with pytest.raises(FileNotFoundError, match=r"not whole .*it names .*secret\.jpg, which is not in"):
        sources.get("FGVCAircraft", "train", tmp_path / "data")


def test_an_archive_that_broke_off_is_gone_on_with_and_https_is_never_left_for_http(tmp_path, monkeypatch):
    asked = []

    def fetch(url, path):
        asked.append(url)
        path.write_bytes(b"half")
        raise sources.urls.Unreachable(f"{url} cannot be fetched: cut")

    monkeypatch.setattr(sources.urls, "fetch", fetch)
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match=r"^DTD cannot be fetched \(https://.* cut\): try again"):
        sources.get("DTD", "train", tmp_path / "data", download=True)
    assert len(asked) == 1 and asked[0].startswith("https://")
    [kept] = [path for path in (tmp_path / "data").iterdir() if path.name != ".fetching.lock"]
    assert kept.name == ".dtd-r1.0.1.tar.gz.unfinished" and kept.read_bytes() == b"half"
