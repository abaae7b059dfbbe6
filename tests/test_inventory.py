"""What a config names on the disk is looked at, whatever of it is missing."""

import os

import pytest
import yaml

from conftest import ROOT, Project
from patchwork import folders, inventory, sources
from test_sources import LAID_OUT

PUBLISHED = yaml.safe_load((ROOT / "rules/datasets.yaml").read_text())
SMALL = {
    "birds": {"classes": 2, "files": 6, "get": "birds.org"},
    "textures": {"files": 6, "get": "textures.org"},
    "imagenet_val": {"classes": 2, "files": 6, "wordnet": True, "get": "image-net.org"},
    "imagenet_c": {"classes": 2, "files": 6, "wordnet": True, "get": "zenodo.org"},
}
WORDNET = ("n01440764", "n01443537")


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(path, text=""):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as opened:
        opened.write(text)


def fill(root, names=("auk", "owl"), each=3, ending="jpg"):
    """Folders of empty files: nothing looks into an image."""
    for name in names:
        for number in range(each):
            write(f"{root}/{name}/{name}_{number}.{ending}")


def look(datasets=None, fetched=None, severities=None, made=None, **config):
    """{name: Finding} of a config."""
    config = {"datasets": datasets or {}, "models": {}, **config}
    categories = str(ROOT / "rules/categories")
    found = [*inventory.look(config, SMALL, fetched or {}, made or {}, severities or {}, categories)]
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding for finding in found}


def look_at(entry, **others):
    """(state, seen) of each thing that one dataset names, by key."""
    found = look({"data": entry}, **others)
    return {name.split(".")[-1]: (finding.state, finding.seen) for name, finding in found.items()}


# ---- folders ----


def test_images_are_counted_by_folder_whatever_else_lies_there():
    fill("data/birds")
    write("data/birds/auk/young/one.PNG")
    for other in ("auk/notes.txt", ".hidden/one.jpg", "auk/.hidden.jpg", "readme.md"):
        write(f"data/birds/{other}")
    assert look_at({"root": "data/birds"}) == {"root": ("found", "2 folders, 7 files")}


def test_a_folder_that_is_not_there_is_missing_and_told_how_to_get():
    found = look({"own": {"root": "data/own"}, "known": {"root": "data/birds", "expects": "birds"}})
    assert found["datasets.own.root"] == inventory.Finding(
        "datasets.own.root",
        "data/own",
        "missing",
        "",
        f"put it there, or a link: ln -s PLACE data/own{inventory.OF_DATA}",
    )
    assert found["datasets.known.root"].fix == "birds.org; see docs/data.md"


@pytest.mark.parametrize(
    ("names", "each", "seen"),
    [
        (("auk", "owl"), 2, "2 folders, 4 files; whole, it has 6 files"),
        (("auk", "owl", "tit"), 2, "3 folders, 6 files; whole, it has 2 classes"),
        (("auk",), 3, "1 folders, 3 files; whole, it has 2 classes and 6 files"),
    ],
)
def test_another_number_of_classes_or_files_is_wrong(names, each, seen):
    fill("data/birds", names, each)
    assert look_at({"root": "data/birds", "expects": "birds"}) == {"root": ("wrong", seen)}
    assert look_at({"root": "data/birds"})["root"][0] == "found"


def test_the_folders_of_imagenet_are_named_by_wordnet_ids():
    fill("data/val")
    fill("data/right", WORDNET)
    state, seen = look_at({"root": "data/val", "expects": "imagenet_val"})["root"]
    assert state == "wrong" and seen.endswith("its folders should be named by WordNet ids, like n01440764")
    assert look_at({"root": "data/right", "expects": "imagenet_val"})["root"][0] == "found"


def test_a_dataset_needs_classes_unless_it_gives_styles_or_has_masks():
    write("data/flat/one.jpg")
    fill("data/empty", each=0)
    fill("data/empty", ["auk"])
    os.makedirs("data/empty/owl")
    flat = {"root": "data/flat"}
    assert look_at(flat) == {"root": ("wrong", "1 files: it should hold one folder of images per class")}
    found = look({"flat": flat, "made": {"stylize": "x", "styles": "flat", "stylizer": "s"}})
    assert found["datasets.flat.root"].seen == "1 files"
    stylizers = {"s": {"encoder": "e", "layers": ["a"], "content": "x", "styles": "flat"}}
    assert look({"flat": flat}, stylizers=stylizers)["datasets.flat.root"].state == "found"
    assert look_at({"root": "data/empty"}) == {
        "root": ("wrong", "the class folder 'owl' (1 such) has no images in it")
    }


def test_of_a_list_the_images_that_it_names_are_counted():
    fill("data/birds", each=9)
    write("train.txt", "".join(f"{name}/{name}_{k}\n" for name in ("auk", "owl") for k in range(3)))
    entry = {"root": "data/birds", "list": "train.txt", "expects": "birds"}
    assert look_at(entry) == {"root": ("found", "2 folders, 6 files"), "list": ("found", "6 lines")}
    assert look_at(entry | {"list": "none.txt"}) == {
        "root": ("found", "2 folders, 18 files"),
        "list": ("missing", ""),
    }
    write("train.txt", "owl/owl_99\n")
    state, seen = look_at(entry)["root"]
    assert state == "wrong" and seen.startswith("train.txt names 'owl/owl_99', but data/birds has no such")


def test_every_image_needs_a_mask():
    fill("data/images")
    fill("data/masks", ["auk"], ending="png")
    entry = {"root": "data/images", "masks": "data/masks"}
    advice = "; `list: FILE` would name the images that have one"
    assert look_at(entry)["masks"] == ("wrong", f"3 images have none, such as owl/owl_0.jpg{advice}")
    write("list.txt", "auk/auk_0\n")
    assert look_at(entry | {"list": "list.txt"})["masks"] == ("found", "3 files")
    assert look_at(entry | {"masks": "data/none"})["masks"] == ("missing", "")
    state, seen = look_at(entry | {"root": "data/none"})["masks"]
    assert state == "missing" and seen.startswith("there is no folder data/none")


def test_what_lies_beside_images_is_looked_at():
    fill("data/cue")
    write("data/raw/subject.csv")
    write("classes.txt", "auk\nowl\n\n")
    entry = {"root": "data/cue", "classes": "classes.txt", "columns": "none.csv", "decisions": "data/raw"}
    found = look_at(entry | {"categories": "geirhos"})
    assert found.pop("categories")[0] == "found"
    assert found == {
        "root": ("found", "2 folders, 6 files"),
        "classes": ("found", "2 lines"),
        "columns": ("missing", ""),
        "decisions": ("found", "1 files"),
    }
    assert look_at({"root": "data/cue", "categories": "geirhoss"})["categories"] == ("missing", "")
    os.remove("data/raw/subject.csv")
    assert look_at(entry)["decisions"] == ("wrong", "it should hold CSV files")


def test_the_folders_of_imagenet_c_are_counted_that_are_asked_for():
    fill("val", WORDNET)
    for level in (1, 2):
        fill(f"c/fog/{level}", WORDNET)
    fill("c/snow/1", WORDNET, each=2)
    entry = {"root": "val", "imagenet_c": "c", "expects": "imagenet_val"}

    def seen(*folders):
        return look_at(entry, severities={"data": [*folders]})["imagenet_c"]

    assert seen("c/fog/1", "c/fog/2") == ("found", "2 folders, 12 files")
    assert seen("c/fog/1", "c/fog/3", "c/frost/1") == (
        "missing",
        "of 3 folders 2 are not there, such as c/fog/3",
    )
    assert seen() == ("found", "0 files")
    assert look_at(entry | {"imagenet_c": "d"})["imagenet_c"] == ("missing", "")
    assert look_at(entry | {"root": "c", "expects": "birds"}, severities={"data": ["c/snow/1"]})[
        "imagenet_c"
    ] == ("found", "1 folders, 4 files")
    assert seen("c/snow/1") == ("wrong", "c/snow/1 has 2 folders, 4 files; whole, it has 6 files")


# ---- sets that are fetched, weights ----


def test_a_set_that_torchvision_knows_is_counted_where_it_lies_or_to_be_fetched():
    entry = {"fetch": "DTD", "split": "train", "root": "data", "expects": "textures"}
    lacking = "there is no data/dtd/dtd: put DTD there, or let it be fetched by `download: true`"
    assert look({"d": entry})["datasets.d.root"][2:] == ("missing", "", lacking)
    fetched, asked = entry | {"download": True}, {"datasets.d": "folders/d/index.csv"}
    assert look({"d": fetched}, asked)["datasets.d.root"][2:] == ("to fetch", "", "")
    assert look({"d": fetched})["datasets.d.root"][2:] == ("unused", "no study asks for it", "")
    fill("data/dtd/dtd/images")  # all in one folder, `images`
    assert look_at(entry) == {"root": ("found", "1 folders, 6 files")}
    inventory.check_whole(entry, SMALL["textures"])
    os.remove("data/dtd/dtd/images/auk/auk_0.jpg")
    assert look_at(entry) == {"root": ("wrong", "1 folders, 5 files; whole, it has 6 files")}
    found = look({"d": entry})["datasets.d.root"], look({"d": fetched}, asked)["datasets.d.root"]
    assert [each.fix for each in found] == [
        "delete data/dtd/dtd, and put the whole set there",
        "delete data/dtd/dtd, and run again",
    ]
    with pytest.raises(ValueError, match="DTD in data: 1 folders, 5 files; whole, it has 6 files; delete "):
        inventory.check_whole(fetched, SMALL["textures"])


@pytest.mark.parametrize("name", sources.SETS)
def test_the_images_of_every_set_are_counted_where_torchvision_puts_them(tmp_path, monkeypatch, name):
    for split, files in LAID_OUT[name](tmp_path / "data", monkeypatch).items():
        state, seen = look_at({"fetch": name, "split": split, "root": "data"})["root"]
        counted = int(seen.split()[-2])
        assert state == "found" and counted >= len(files)
        _, place = sources.SETS[name].splits[split]
        below = (tmp_path / "data" / place).rglob("*.*")
        assert counted == sum(file.suffix.lower() in folders.EXTENSIONS for file in below)


def test_stylized_images_are_made_unless_they_are_there():
    entry = {"stylize": "photos", "styles": "paintings", "stylizer": "adain"}
    made = {"sin": "folders/sin/index.csv"}
    expected = ["datasets.sin", "photos in the style of paintings", "to make", "", ""]
    assert [*look({"sin": entry}, made=made)["datasets.sin"]] == expected
    write("folders/sin/index.csv")
    assert look({"sin": entry}, made=made)["datasets.sin"][2:4] == ("found", "made")


def test_weights_and_decoders_are_found_missing_or_to_be_fetched():
    write("w.pth", "x" * 100_000)
    write("fetched/hub.safetensors")
    models = {
        "hub": {"timm": "test_vit"},
        "url": {"timm": "test_vit", "weights": "https://x.org/w.pth"},
        "file": {"timm": "test_vit", "weights": "w.pth"},
        "lost": {"timm": "test_vit", "weights": "none.pth"},
        "drawn": {"timm": "test_vit", "weights": "random"},
        "trained": {"timm": "test_vit", "run": "first"},
    }
    fetched = {f"models.{name}": f"fetched/{name}.safetensors" for name in ("hub", "url")}
    models["idle"] = {"timm": "test_vit"}
    adain = {"encoder": "file", "layers": ["1"]}
    stylizers = {
        "adain": adain | {"decoder": "decoder.pth"},
        "away": adain | {"decoder": "https://x.org/d.pth"},
    }
    fetched["stylizers.away"] = "decoders/away.safetensors"
    found = look(models=models, fetched=fetched, stylizers=stylizers, reuse="elsewhere")
    assert {name: (finding.path, *finding[2:4]) for name, finding in found.items()} == {
        "models.hub": ("test_vit", "found", "fetched"),
        "models.url": ("https://x.org/w.pth", "to fetch", ""),
        "models.idle": ("test_vit", "unused", "no study asks for it"),
        "models.file.weights": ("w.pth", "found", "0.1 MB"),
        "models.lost.weights": ("none.pth", "missing", ""),
        "stylizers.adain.decoder": ("decoder.pth", "missing", ""),
        "stylizers.away": ("https://x.org/d.pth", "to fetch", ""),
        "reuse": ("elsewhere", "wrong", "no run was there: it should hold .snakemake and the results"),
    }
    assert (
        inventory.summary([*found.values()])
        == "2 found, 2 to fetch (snakemake fetch_all), 2 missing, 1 unused, 1 wrong"
    )
    for name in ("models.lost.weights", "stylizers.adain.decoder"):
        assert found[name].fix.endswith("; docs/models.md tells of published ones")
    assert found["reuse"].fix.endswith("ln -s PLACE elsewhere")


# ---- the file of known data sets ----


def test_known_data_sets_are_those_that_a_config_may_name_and_docs_tell_of():
    schema = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
    entry = schema["properties"]["datasets"]["additionalProperties"]["properties"]
    assert entry["expects"]["enum"] == [name for name in PUBLISHED if name != "imagenet_c"]
    told = (ROOT / "docs/data.md").read_text()
    for name, known in PUBLISHED.items():
        assert {"files", "get"} <= known.keys() <= {"classes", "files", "wordnet", "get"}
        assert f"`{name}`" in told and f"{known['files']:,}" in told
    assert PUBLISHED["cub_train"]["files"] + PUBLISHED["cub_test"]["files"] == PUBLISHED["cub"]["files"]


# ---- the paper's own config ----


def look_at_paper():
    """{name: Finding} of all that config/imagenet.yaml names."""
    config = yaml.safe_load((ROOT / "config/imagenet.yaml").read_text())
    told = {name: entry.get("weights", "https://hub") for name, entry in config["models"].items()}
    fetched = {f"models.{name}": "none" for name, place in told.items() if place.startswith("https")}
    fetched["stylizers.adain"] = "none"
    fetched |= {f"datasets.{name}": "none" for name, entry in config["datasets"].items() if "fetch" in entry}
    made = {name: "none" for name, entry in config["datasets"].items() if "stylize" in entry}
    severities = {
        name: [f"{entry['imagenet_c']}/fog/1"]
        for name, entry in config["datasets"].items()
        if "imagenet_c" in entry
    }
    categories = str(ROOT / "rules/categories")
    found = [*inventory.look(config, PUBLISHED, fetched, made, severities, categories)]
    return config, {finding.name: finding for finding in found}


def test_of_the_paper_s_data_each_part_is_missing_with_what_to_do():
    config, found = look_at_paper()
    states = {name: finding.state for name, finding in found.items()}
    assert {*states.values()} <= {"missing", "to fetch", "to make", "found"}
    assert all(name.endswith(".categories") for name, state in states.items() if state == "found")
    assert all(finding.fix for finding in found.values() if finding.state == "missing")
    assert states["datasets.imagenet.root"] == states["models.augmix.weights"] == "missing"
    assert {name.split(".")[1] for name in found} >= {*config["datasets"]}
    for name, entry in config["models"].items():
        given = entry.get("weights", "") == "random" or "run" in entry
        assert given or {f"models.{name}", f"models.{name}.weights"} & found.keys()


def test_of_the_paper_s_data_a_part_that_is_not_whole_is_wrong():
    config, _ = look_at_paper()
    for entry in config["datasets"].values():
        if "root" in entry and "fetch" not in entry:
            fill(entry["root"], WORDNET)
            for key in ("masks", "imagenet_c", "decisions"):
                os.makedirs(entry.get(key, entry["root"]), exist_ok=True)
            if "list" in entry:
                write(entry["list"], "n01440764/n01440764_0\n")
    _, found = look_at_paper()
    for name, entry in config["datasets"].items():
        if "expects" in entry and "fetch" not in entry:
            finding = found[f"datasets.{name}.root"]
            assert finding.state == "wrong" and "; whole, it has " in finding.seen and finding.fix
    assert found["datasets.imagenet.root"].seen == (
        "2 folders, 6 files; whole, it has 1,000 classes and 50,000 files"
    )


# ---- the table ----

CONFIG = """\
datasets:
  imagenet: {root: data/val, expects: imagenet_val, imagenet_c: data/c}
  birds: {root: data/birds, list: data/birds.txt}
pixels: {resize: 32, crop: 32, interpolation: bilinear}
models:
  hub: {family: all, timm: test_vit}
  mine: {family: all, timm: test_resnet, weights: data/w.pth}
studies:
  one: {datasets: [imagenet, birds], models: all, perturbations: corrupt/fog}
seeds: [0]
"""


def test_the_table_is_told_whatever_is_missing_and_other_targets_refuse(tmp_path):
    project = Project.create(tmp_path / "project")
    project.path("config.yaml").write_text(CONFIG)
    fill(str(project.path("data/birds")))
    told = project.run("check_data", check=False)
    for line in (
        "datasets.imagenet.root               missing   data/val",
        "datasets.imagenet.imagenet_c         missing   data/c",
        "datasets.birds.root                  found     data/birds  (2 folders, 6 files)",
        "datasets.birds.list                  missing   data/birds.txt",
        "models.hub                           to fetch  test_vit",
        "models.mine.weights                  missing   data/w.pth",
        "1 found, 4 missing, 1 to fetch (snakemake fetch_all)",
    ):
        assert f"\n{line}\n" in told
    refused = project.run("all", check=False)
    assert "datasets.birds.list: there is no file data/birds.txt" in refused and "Job stats" not in refused
    # With what is missing in its place, the same command succeeds.
    project.edit(
        "config.yaml", "root: data/val, expects: imagenet_val, imagenet_c: data/c", "root: data/birds"
    )
    write(str(project.path("data/w.pth")))
    write(str(project.path("data/birds.txt")), "auk/auk_0\n")
    assert "\n4 found, 1 to fetch (snakemake fetch_all)\n" in project.run("check_data")
