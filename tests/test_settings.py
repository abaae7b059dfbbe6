"""Every mistake in a config is named by file, line and key, with what would be right."""

import pytest
import yaml
from snakemake.utils import update_config

from conftest import MEASURES, PERTURBATIONS, ROOT
from patchwork import entries, settings
from patchwork.catalogue import catalogue, cells, variants

SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
CHANGES = {"config/imagenet-5k.yaml": ["config/imagenet.yaml"]}  # what is read before
RECIPES = yaml.safe_load((ROOT / "rules/recipes.yaml").read_text())
ENTRIES = variants(catalogue(PERTURBATIONS))

GOOD = """\
datasets:
  photos: {root: data/photos, family: real}
  drawn: {draw: natural, images: 10, size: 32}
pixels: {resize: 64, crop: 32, interpolation: bilinear}
models:
  deit:
    family: vit
    timm: deit_tiny_patch16_224
  mine:
    family: cnn
    timm: resnet18
    run: first
runs:
  first:
    {model: mine, data: drawn, epochs: 2, stage: 1, batch_images: 4, optimizer: adamw,
     learning_rate: 0.1, weight_decay: 0, warmup_epochs: 0}
studies:
  one:
    datasets: photos
    models: [vit, mine]
    perturbations: random_drop/8x8
levels:
  random_drop: [0, 0.5]
  shuffle_grid: [1, 4]
seeds: [0, 1]
compute: {batch_images: 8}
"""


def problems(tmp_path, *changes):
    """The lines of complaint about the good config after changes (old, new)."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    try:
        settings.check(yaml.safe_load(text), SCHEMA, [path], ENTRIES, MEASURES, RECIPES)
    except ValueError as error:
        return [line.replace(f"{tmp_path}/", "") for line in str(error).splitlines()]
    return []


def where(old):
    """'config.yaml, line N' of a piece of the good config."""
    return f"config.yaml, line {GOOD[: GOOD.index(old)].count(chr(10)) + 1}"


def test_a_good_config_has_no_problem(tmp_path):
    assert problems(tmp_path) == []


def test_a_url_whose_name_tells_its_hash_needs_no_other(tmp_path):
    url = "    weights: https://x.org/resnet18-f37072fd.pth\n"
    assert problems(tmp_path, ("    run: first\n", url)) == []


@pytest.mark.parametrize("place", ["https://x.org/w.pth", "http://127.0.0.1:8000/w.pth"])
def test_the_hash_of_a_url_may_be_unknown_where_nobody_can_change_what_it_sends(tmp_path, place):
    assert problems(tmp_path, ("    run: first\n", f"    weights: {place}\n    sha256: unknown\n")) == []


@pytest.mark.parametrize("name", ["config.yaml", *(f"config/{path.name}" for path in CONFIGS)])
def test_the_configs_that_come_with_the_workflow_are_good(name):
    files = [ROOT / each for each in [*CHANGES.get(name, []), name]]
    config = {}
    for file in files:
        update_config(config, yaml.safe_load(file.read_text()))
    settings.take_away(config)
    entries = variants(catalogue(PERTURBATIONS), config["models"])
    settings.check(config, SCHEMA, files, entries, MEASURES, RECIPES)


# (what is changed, into what, the key that is told, words of the message)
MISTAKES = {
    "a reference that no study asks for": (
        "seeds: [0, 1]",
        "reference: mime\nseeds: [0, 1]",
        "reference: among the models of the studies, 'mime' is not known",
        ["mean 'mine'?", "there are deit, mine"],
    ),
    "a transfer to an unknown dataset": (
        "seeds: [0, 1]",
        "transfers: {birds: {train: photos, test: photo}}\nseeds: [0, 1]",
        "transfers.birds.test: 'photo' is not known",
        ["mean 'photos'?"],
    ),
    "a transfer that is tested on what it learns from": (
        "seeds: [0, 1]",
        "transfers: {birds: {train: photos, test: photos}}\nseeds: [0, 1]",
        "transfers.birds.train: photos has another part here already",
        [],
    ),
    "a transfer that keeps all images for testing": (
        "seeds: [0, 1]",
        "transfers: {birds: {data: photos, test: 0.8}}\nseeds: [0, 1]",
        "transfers.birds: `test` and `validation` leave no image to train on",
        [],
    ),
    "a share out of range": (
        "seeds: [0, 1]",
        "transfers: {birds: {data: photos, test: 1.5}}\nseeds: [0, 1]",
        "transfers.birds",
        ["an entry of datasets, or a share between 0 and 1"],
    ),
    "a transfer of half a kind": (
        "seeds: [0, 1]",
        "transfers: {birds: {train: photos}}\nseeds: [0, 1]",
        "transfers.birds",
        ["`train` and `test` are entries of datasets, or `data` is one"],
    ),
    "shots that are drawn": (
        "seeds: [0, 1]",
        "few_shots: {birds: {data: photos, ways: variable, shots: [1]}}\nseeds: [0, 1]",
        "few_shots.birds.shots: are drawn, too, where `ways` is variable",
        [],
    ),
    "an episode of one class": (
        "seeds: [0, 1]",
        "few_shots: {birds: {data: photos, ways: 1}}\nseeds: [0, 1]",
        "few_shots.birds.ways",
        ["classes of an episode, or `variable`"],
    ),
    "a grid finer than the pixels": (
        "crop: 32",
        "crop: 7",
        "studies.one.perturbations: random_drop/8x8 has more tiles along a side than pixels.crop: 7",
        [],
    ),
    "a misspelt section": (
        "studies:",
        "studys:",
        "studys is no key of Patchwork, did you mean 'studies'?",
        [],
    ),
    "a misspelt setting": (
        "{batch_images: 8",
        "{batch_image: 8",
        "compute.batch_image is no key",
        ["mean 'batch_images'?"],
    ),
    "a misspelt key of a model": ("run: first", "runn: first", "models.mine.runn is no key", ["mean 'run'?"]),
    "a misspelt key of a dataset": ("{root:", "{rot:", "datasets.photos.rot is no key", ["mean 'root'?"]),
    "a misspelt key of a study": (
        "perturbations:",
        "pertubations:",
        "studies.one.pertubations is no key",
        ["mean 'perturbations'?"],
    ),
    "a misspelt dataset": (
        "datasets: photos",
        "datasets: photo",
        "studies.one.datasets: 'photo' is not known",
        ["mean 'photos'?", "drawn, photos, real"],
    ),
    "a misspelt model": (
        "[vit, mine]",
        "[vit, mime]",
        "studies.one.models: 'mime' is not known",
        ["mean 'mine'?"],
    ),
    "a misspelt family": (
        "[vit, mine]",
        "vits",
        "studies.one.models: 'vits' is not known",
        ["mean 'vit'?", "cnn"],
    ),
    "a misspelt perturbation": (
        "random_drop/8x8",
        "random_drops/8x8",
        "studies.one.perturbations: 'random_drops/8x8' is not known",
        ["mean 'random_drop/8x8'?"],
    ),
    "a variant that is not there": (
        "random_drop/8x8",
        "random_drop/9x9",
        "studies.one.perturbations: 'random_drop/9x9' is not known",
        ["random_drop/14x14"],
    ),
    "a misspelt family of perturbations": (
        "random_drop/8x8",
        "oclusion",
        "studies.one.perturbations: 'oclusion' is not known",
        ["mean 'occlusion'?"],
    ),
    "an unknown run": (
        "run: first",
        "run: frist",
        "models.mine.run: 'frist' is not known",
        ["mean 'first'?"],
    ),
    "an unknown model of a run": (
        "{model: mine,",
        "{model: mne,",
        "runs.first.model: 'mne' is not known",
        ["mean 'mine'?"],
    ),
    "unknown data of a run": (
        "data: drawn",
        "data: draw",
        "runs.first.data: 'draw' is not known",
        ["mean 'drawn'?"],
    ),
    "an unknown teacher": (
        "{model: mine,",
        "{teacher: dit, model: mine,",
        "runs.first.teacher: 'dit' is not known",
        ["mean 'deit'?"],
    ),
    "unknown initial weights": (
        "{model: mine,",
        "{initial: mne, model: mine,",
        "runs.first.initial: 'mne' is not known",
        ["mean 'mine'?"],
    ),
    "unknown held-out images": (
        "{model: mine,",
        "{held_out: photo, model: mine,",
        "runs.first.held_out: 'photo' is not known",
        ["mean 'photos'?"],
    ),
    "an unknown recipe": (
        "{model: mine,",
        "{recipe: diet, model: mine,",
        "runs.first.recipe: 'diet' is not known",
        ["mean 'deit'?"],
    ),
    "a run that is told too little": (
        "epochs: 2, stage: 1,",
        "epochs: 2,",
        "runs.first: is told no stage",
        ["give it, or a `recipe`"],
    ),
    "a stage that does not divide the epochs": (
        "epochs: 2, stage: 1,",
        "epochs: 5, stage: 2,",
        "runs.first.stage: 2 does not divide the 5 epochs",
        [],
    ),
    "a run that is its own teacher": (
        "{model: mine,",
        "{teacher: mine, model: mine,",
        "runs.first: nothing can be made from itself",
        ["runs.first from models.mine from runs.first"],
    ),
    "a strange kind of distillation": (
        "{model: mine,",
        "{distillation: {kind: firm}, model: mine,",
        "runs.first.distillation.kind: 'firm' is not one of ['hard', 'soft']",
        [],
    ),
    "a share above one": (
        "[0, 0.5]",
        "[0, 1.5]",
        "levels.random_drop: level 1.5 is outside 0 to 1",
        ["share of tiles dropped"],
    ),
    "a share below zero": ("[0, 0.5]", "[0, -0.5]", "levels.random_drop: level -0.5 is outside 0 to 1", []),
    "a level that is no number": (
        "[0, 0.5]",
        "[0, .nan]",
        "levels.random_drop: level nan is outside 0 to 1",
        [],
    ),
    "no clean level": (
        "[0, 0.5]",
        "[0.1, 0.5]",
        "levels.random_drop: the first level must be 0",
        ["untouched"],
    ),
    "no clean grid": ("[1, 4]", "[4, 8]", "levels.shuffle_grid: the first level must be 1", []),
    "a number that is no grid": (
        "[1, 4]",
        "[1, 5]",
        "levels.shuffle_grid: level 5 is none of 1, 4, 8",
        ["number of tiles"],
    ),
    "a level twice": ("[0, 0.5]", "[0, 0.5, 0.5]", "levels.random_drop: a level stands there twice", []),
    "one level": ("[0, 0.5]", "[0]", "levels.random_drop: [0] is too short", []),
    "levels of nothing": (
        "  random_drop: [0",
        "  random_dop: [0",
        "levels.random_dop: 'random_dop' is not known",
        ["mean 'random_drop'?"],
    ),
    "levels of a family": ("  random_drop: [0", "  occlusion: [0", "levels.occlusion", ["random_drop"]),
    "a number that YAML reads as text": (
        "[0, 0.5]",
        "[0, 1e-3]",
        "levels.random_drop.1: '1e-3' is not of type 'number'",
        ["write 1.0e-3"],
    ),
    "a rate that YAML reads as text": (
        "learning_rate: 0.1",
        "learning_rate: 1e-3",
        "runs.first.learning_rate: '1e-3' is not of type 'number'",
        ["write 1.0e-3"],
    ),
    "a URL without its hash": (
        "run: first",
        "weights: https://x.org/w.pth",
        "models.mine.weights is a URL: give its `sha256`",
        [],
    ),
    "a beginning of the hash of what others can change on its way": (
        "run: first",
        "weights: http://x.org/resnet18-f37072fd.pth",
        "models.mine.weights is a URL: give its `sha256`",
        [],
    ),
    "an unknown hash of what others can change on its way": (
        "run: first",
        "weights: http://x.org/w.pth\n    sha256: unknown",
        "models.mine.sha256 can be unknown only of a URL of https",
        [],
    ),
    "an unknown hash of a file": (
        "run: first",
        "weights: w.pth\n    sha256: unknown",
        "models.mine.sha256 can be unknown only of a URL of https",
        [],
    ),
    "weights from two places": (
        "run: first",
        "run: first\n    weights: w.pth",
        "models.mine has `run` and `weights`",
        [],
    ),
    "a hash that is none": (
        "run: first",
        "weights: w.pth\n    sha256: abc",
        "models.mine.sha256: 'abc' does not match",
        ["64 hex digits"],
    ),
    "a crop larger than the image": ("crop: 32", "crop: 65", "pixels.crop is larger than pixels.resize", []),
    "a crop larger than the images of one dataset": (
        "family: real}",
        "family: real, resize: 31}",
        "datasets.photos.resize is less than pixels.crop",
        [],
    ),
    "an unknown interpolation": (
        "bilinear",
        "linear",
        "pixels.interpolation: 'linear' is not one of ['bilinear', 'bicubic']",
        [],
    ),
    "a seed twice": ("[0, 1]", "[1, 1]", "seeds: [1, 1] has non-unique elements", []),
    "a seed that is no number": ("[0, 1]", "[0, x]", "seeds.1: 'x' is not of type 'integer'", []),
    "a dataset of two kinds": (
        "{root: data/photos, family: real}",
        "{root: a, draw: natural, images: 10, size: 32}",
        "datasets.photos: ",
        ["`root`"],
    ),
    "an entry that is no name": ("  deit:", "  My-Deit:", "models", ["'My-Deit' does not match"]),
    "saliency of no model": (
        "random_drop/8x8",
        "saliency",
        "studies.one.perturbations: what is salient",
        ["saliency"],
    ),
    "saliency of an unknown model": (
        "seeds:",
        "saliency: {model: dito}\nseeds:",
        "saliency.model: 'dito' is not known",
        ["deit"],
    ),
    "an unknown model beside it": (
        "seeds:",
        "saliency: {model: deit, beside: [mine, dito]}\nseeds:",
        "saliency.beside.1: 'dito' is not known",
        ["deit"],
    ),
    "the model beside itself": (
        "seeds:",
        "saliency: {model: deit, beside: [deit]}\nseeds:",
        "saliency.beside.0: deit is saliency.model",
        ["others"],
    ),
    "models beside it that are no list": (
        "seeds:",
        "saliency: {model: deit, beside: mine}\nseeds:",
        "saliency.beside: 'mine' is not of type 'array'",
        ["a list of"],
    ),
    "the sha256 of random weights": (
        "    run: first",
        f"    sha256: {'a' * 64}\n    weights: random",
        "models.mine.sha256 is of a file",
        ["random"],
    ),
    "a head that is none": (
        "seeds:",
        "saliency: {model: deit, head: -1}\nseeds:",
        "saliency.head: -1 is not valid",
        ["mean, or the number of a head"],
    ),
    "a grid that is none": (
        "seeds:",
        "saliency: {model: deit, grid: 14}\nseeds:",
        "saliency.grid: 14 is not of type 'string'",
        ["rows x columns"],
    ),
    "a grid of nothing": (
        "seeds:",
        "saliency: {model: deit, grid: 14x0}\nseeds:",
        "saliency.grid: '14x0' does not match",
        ["rows x columns"],
    ),
    "a grid finer than pixels": (
        "seeds:",
        "saliency: {model: deit, grid: 4x33}\nseeds:",
        "saliency.grid: 4x33 has more tiles along a side than pixels.crop",
        [],
    ),
    "an unknown device": (
        "{batch_images: 8}",
        "{device: gpu}",
        "compute.device: 'gpu' does not match",
        ["cuda:N"],
    ),
}


# Where what is told stands, in lines after the change.
AWAY = {
    "a run that is told too little": -1,
    "a run that is its own teacher": -1,
    "a grid finer than the pixels": 17,
    "weights from two places": -3,
    "a hash that is none": 1,
    "an unknown hash of what others can change on its way": 1,
    "an unknown hash of a file": 1,
    "an entry that is no name": -1,
}

# A misspelt key is often a missing one, too.
ALSO_MISSING = {"a misspelt section", "a misspelt key of a dataset", "a misspelt key of a study"}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path, mistake):
    old, new, told, words = MISTAKES[mistake]
    found = problems(tmp_path, (old, new))
    place = f"config.yaml, line {GOOD[: GOOD.index(old)].count(chr(10)) + 1 + AWAY.get(mistake, 0)}"
    [line] = [line for line in found if line.startswith(f"{place}: {told}")]
    assert all(word in line for word in words)
    assert len(found) == 1 or mistake in ALSO_MISSING


def test_a_missing_section_is_named(tmp_path):
    assert "config: 'seeds' is a required property" in problems(tmp_path, ("seeds: [0, 1]\n", ""))


def test_a_key_that_stands_twice_is_named(tmp_path):
    found = problems(tmp_path, ("seeds: [0, 1]\n", "seeds: [0, 1]\nseeds: [0]\n"))
    assert found == [f"{where('compute:')}: 'seeds' stands here a second time; keep one"]
    found = problems(tmp_path, ("{root: data/photos,", "{root: data/photos, root: other,"))
    assert found == [f"{where('  photos')}: 'root' stands here a second time; keep one"]


def test_several_mistakes_are_told_together(tmp_path):
    found = problems(
        tmp_path,
        ("run: first", "run: frist"),
        ("datasets: photos", "datasets: fotos"),
        ("[0, 0.5]", "[0.1, 2]"),
    )
    assert len(found) == 4 and len({line.split(":")[0] for line in found}) == 3
    found = problems(tmp_path, ("{batch_images: 8", "{batch: 8"), ("bilinear", "nearest"), ("[0, 1]", "[-1]"))
    assert len(found) == 3


def test_what_learns_without_labels_takes_none_and_decides_nothing(tmp_path):
    labelled, evaluated = problems(tmp_path, ("{model: mine,", "{dino: {}, held_out: drawn, model: mine,"))
    assert "runs.first: learns without labels" in labelled and "no `held_out`" in labelled
    assert "models.mine: has learnt without labels" in evaluated and "under `saliency`" in evaluated
    asked = ("perturbations: random_drop/8x8", "measures: block_accuracy")
    (measured,) = problems(tmp_path, ("{model: mine,", "{dino: {}, model: mine,"), asked)
    assert "models.mine: has learnt without labels" in measured and "measure of its decisions" in measured


# ---- stylizing ----

STYLIZING = """\
  paintings: {root: data/paintings}
  sin: {stylize: drawn, styles: paintings, stylizer: adain}
stylizers:
  adain: {encoder: mine, layers: [layer1], content: drawn, styles: paintings}
pixels:"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("stylize: drawn", "stylize: drown", ["datasets.sin.stylize: 'drown' is not known"]),
        ("styles: paintings, styl", "styles: painting, styl", ["sin.styles: 'painting' is not known"]),
        ("stylizer: adain", "stylizer: vgg", ["datasets.sin.stylizer: 'vgg' is not known; there are adain"]),
        ("encoder: mine", "encoder: mime", ["line 7: stylizers.adain.encoder: 'mime' is not known"]),
        ("content: drawn", "content: drown", ["stylizers.adain.content: 'drown' is not known"]),
        ("content: drawn, ", "", ["stylizers.adain: ", "`decoder`, a file, or `content` and `styles`"]),
        (
            "content: drawn, styles: paintings",
            "decoder: https://x.org/d.pth",
            ["stylizers.adain.decoder is a URL: give its `sha256`"],
        ),
        (", stylizer: adain", "", ["datasets.sin: ", "`stylize`, `styles` and `stylizer`"]),
        ("data/paintings}", "data/paintings, alpha: 1}", ["paintings.alpha: only stylized images have"]),
        ("stylize: drawn", "stylize: sin", ["datasets.sin: nothing can be made from itself"]),
        ("layers: [layer1]", "layers: []", ["stylizers.adain.layers: [] should be non-empty"]),
    ],
)  # fmt: skip
def test_a_mistake_of_stylizing_is_named(tmp_path, old, new, says):
    assert problems(tmp_path, ("pixels:", STYLIZING)) == []
    assert STYLIZING.count(old) == 1
    [line] = problems(tmp_path, ("pixels:", STYLIZING.replace(old, new)))
    assert all(word in line for word in ["config.yaml, line", *says])


def test_an_encoder_that_learns_from_its_own_images_is_a_circle(tmp_path):
    [line] = problems(tmp_path, ("pixels:", STYLIZING), ("data: drawn", "data: sin"))
    way = "datasets.sin from stylizers.adain from models.mine from runs.first from datasets.sin"
    assert line.endswith(f"datasets.sin: nothing can be made from itself: {way}")


def test_what_is_needed_comes_in_the_order_in_which_it_is_made():
    config = yaml.safe_load(GOOD.replace("pixels:", STYLIZING))
    made = [("datasets", "drawn"), ("styles", "paintings"), ("runs", "first"), ("models", "mine")]
    found = entries.needed(config, [("datasets", "sin"), ("models", "mine")])
    assert sorted(found) == sorted([*made, ("stylizers", "adain"), ("datasets", "sin")])
    places = [found.index(each) for each in (*made[2:], ("stylizers", "adain"), ("datasets", "sin"))]
    assert places == sorted(places)
    assert entries.needed(config, [("models", "deit")]) == [("models", "deit")]


def test_labels_are_told_in_one_way_and_by_names_of_own_files(tmp_path):
    changes = [
        ("family: real}", "family: real, classes: a, categories: b}"),
        ("size: 32}", "size: 32, names: cue_conflict}"),
    ]
    first, second = problems(tmp_path, *changes)
    assert "datasets.photos.categories: a dataset with `categories`" in first
    assert "datasets.drawn.names: only the files of a `root`" in second


FETCHED = "  signs: {fetch: GTSRB, split: train, root: data/signs, download: true}\npixels:"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fetch: GTSRB", "fetch: GTSB", ["signs.fetch: 'GTSB' is not known, did you mean 'GTSRB'?", "DTD,"]),
        ("split: train", "split: trian", ["signs.split: of GTSRB, 'trian' is not known", "'train'?"]),
        ("split: train", "split: 2018", ["of GTSRB, '2018' is not known; there are test, train"]),
        ("split: train, ", "", ["datasets.signs: ", "fetched images have `fetch`, `split` and `root`"]),
        (", root: data/signs", "", ["datasets.signs: ", "fetched images have `fetch`, `split` and `root`"]),
        ("fetch: GTSRB, split: train, ", "", ["signs.download: only what is fetched has it: `fetch: SET`"]),
        ("fetch: GTSRB, ", "", ["signs.split: only what is fetched has it", "signs.download: only what is"]),
        ("download: true", "download: maybe", ["signs.download: 'maybe' is not of type 'boolean'"]),
        ("download: true", "draw: natural, images: 10, size: 32", ["datasets.signs: ", "generated ones"]),
        ("download: true", "masks: data/masks", ["signs.masks: only a folder of your own has it"]),
        ("download: true", "columns: a.csv", ["signs.columns: only a folder of your own has it"]),
        ("download: true", "names: cue_conflict", ["signs.names: only the files of a `root` are named"]),
    ],
)  # fmt: skip
def test_a_mistake_of_fetching_is_named(tmp_path, old, new, says):
    assert problems(tmp_path, ("pixels:", FETCHED)) == []
    assert FETCHED.count(old) == 1
    lines = problems(tmp_path, ("pixels:", FETCHED.replace(old, new)))
    assert all(line.startswith("config.yaml, line 4: datasets.signs") for line in lines)
    assert all(word in "\n".join(lines) for word in says)


def test_only_files_of_a_root_are_listed(tmp_path):
    assert problems(tmp_path, ("family: real}", "family: real, list: a.txt}")) == []
    [line] = problems(tmp_path, ("size: 32}", "size: 32, list: a.txt}"))
    assert "datasets.drawn: 'root' is a dependency of 'list'" in line


def test_stylized_images_have_the_classes_of_their_contents():
    datasets = {"a": {"root": "x", "classes": "list.txt"}, "b": {"stylize": "a"}, "c": {"stylize": "b"}}
    assert entries.inherited(datasets["c"], datasets) == {"classes": "list.txt"}
    assert entries.inherited({"stylize": "d"}, {"d": {"root": "x"}}) == {}


def test_a_key_is_told_from_the_file_that_decides_it(tmp_path):
    (tmp_path / "first.yaml").write_text(GOOD)
    (tmp_path / "second.yaml").write_text("# own\n\nseeds: [x]\n")
    config = yaml.safe_load(GOOD) | {"seeds": ["x"]}
    with pytest.raises(ValueError, match=r"second\.yaml, line 3: seeds\.0: 'x' is not of type"):
        settings.check(
            config, SCHEMA, [tmp_path / "first.yaml", tmp_path / "second.yaml"], ENTRIES, MEASURES, RECIPES
        )
    (tmp_path / "second.yaml").write_text("# nothing of its own\n")
    config = yaml.safe_load(GOOD) | {"seeds": ["x"]}  # as by --config
    with pytest.raises(ValueError, match="seeds"):
        settings.check(config, SCHEMA, [tmp_path / "second.yaml"], ENTRIES, MEASURES, RECIPES)


# ---- what is asked ----


def asked(*changes):
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    config = yaml.safe_load(text)
    return settings.asked(config, settings.with_chosen(ENTRIES, config["levels"], {}))


def test_a_strip_says_all_that_a_rule_needs():
    assert asked() == [
        {
            "dataset": "photos",
            "model": model,
            "perturbation": "random_drop",
            "variant": "8x8",
            "family": "occlusion",
            "model_family": family,
            "levels": [0, 0.5],
        }
        for model, family in [("deit", "vit"), ("mine", "cnn")]
    ]


def test_two_studies_that_ask_the_same_get_it_once():
    study = "{datasets: [photos, drawn], models: [deit, vit], perturbations: [occlusion, shuffle_grid]}"
    names = [
        tuple(strip[key] for key in ("dataset", "model", "perturbation", "variant"))
        for strip in asked(("levels:\n", f"  two: {study}\nlevels:\n"))
    ]
    drops = [name.split("/") for name, entry in ENTRIES.items() if entry["family"] == "occlusion"]
    expected = {("photos", model, "random_drop", "8x8") for model in ("deit", "mine")}
    expected |= {(dataset, "deit", *drop) for dataset in ("photos", "drawn") for drop in drops}
    expected |= {(dataset, "deit", "shuffle_grid", "plain") for dataset in ("photos", "drawn")}
    assert names == sorted(expected)


def test_levels_are_chosen_by_name_and_more_closely_by_variant():
    chosen = settings.with_chosen(ENTRIES, {"random_drop": [0, 0.5], "random_drop/8x8": [0, 0.25]}, {})
    assert chosen["random_drop/8x8"]["levels"] == [0, 0.25]
    assert chosen["random_drop/4x4"]["levels"] == [0, 0.5]
    assert chosen["shuffle_grid/plain"]["levels"] == ENTRIES["shuffle_grid/plain"]["levels"]
    assert ENTRIES["random_drop/8x8"]["levels"][1] == 0.1  # the catalogue itself stays
    assert {key: chosen["random_drop/8x8"][key] for key in ("axis", "family", "noise")} == {
        key: ENTRIES["random_drop/8x8"][key] for key in ("axis", "family", "noise")
    }


def test_cells_are_every_level_and_seed_with_one_clean_cell():
    assert cells({"noise": 256}, [0, 0.5, 0.9], [3, 1]) == [(0, 3), (0.5, 3), (0.5, 1), (0.9, 3), (0.9, 1)]
    assert cells({}, [0, 0.5, 0.9], [3, 1]) == [(0, 3), (0.5, 3), (0.9, 3)]
    assert cells({"noise": 1}, [1], [0, 1, 2]) == [(1, 0)]


def test_a_name_that_yaml_takes_for_a_number_is_refused(tmp_path):
    [line] = problems(tmp_path, ("photos:", "12:"))
    assert "a name must be text" in line and "12" in line


def test_variants_that_are_models_are_those_of_the_study_unless_named():
    config = {
        "datasets": {"photos": {}},
        "models": {name: {"family": name[0]} for name in ("vit", "cnn", "other")},
        "studies": {
            "own": {"datasets": "photos", "models": ["vit", "cnn"], "perturbations": "adversarial_patch"},
            "named": {"datasets": "photos", "models": "vit", "perturbations": ["adversarial_patch/other"]},
        },
    }
    strips = settings.asked(config, variants(catalogue(PERTURBATIONS), config["models"]))
    found = {(strip["model"], strip["variant"]) for strip in strips}
    assert found == {(a, b) for a in ("vit", "cnn") for b in ("vit", "cnn")} | {("vit", "other")}


def test_constants_in_one_line_are_refused(tmp_path):
    (tmp_path / "both.py").write_text("FAMILY, AXIS = 'a', 'b'\n")
    with pytest.raises(ValueError, match=r"both.py, line 1: give each constant a line of its own"):
        catalogue(tmp_path)


@pytest.mark.parametrize(
    ("dataset", "lacks"),
    [
        ("{root: data/photos}", True),
        ("{root: data/photos, masks: data/masks}", False),
        ("{root: data/photos, columns: columns.csv}", False),
        ("{draw: conflict, images: 10, size: 32}", False),
        ("{draw: painting, images: 10, size: 32}", True),
        ("{stylize: drawn, styles: drawn, stylizer: s}", False),
        ("{stylize: photos, styles: drawn, stylizer: s}", True),
        ("{stylize: seen, styles: drawn, stylizer: s}", True),
    ],
)
def test_a_measure_that_compares_with_masks_needs_some(tmp_path, dataset, lacks):
    study = "studies:\n  objects: {datasets: seen, models: vit, measures: segmentation}\n"
    told = problems(
        tmp_path,
        ("pixels:", f"  seen: {dataset}\npixels:"),
        ("runs:", "stylizers:\n  s: {encoder: mine, layers: [layer1], decoder: d.pth}\nruns:"),
        ("studies:\n", study),
    )
    says = ": studies.objects.datasets: segmentation compares with true masks, and seen has none: give it"
    assert any(says in line for line in told) == lacks
    assert not lacks or len(told) == 1


def test_where_masks_are_is_told_of_a_folder_of_images(tmp_path):
    for entry, says in [
        ("{draw: natural, images: 10, size: 32, masks: m}", "'root' is a dependency of 'masks'"),
        ("{root: data/photos, masks: m, void: 0}", "0 is less than the minimum of 1 (value of mask pixels"),
    ]:
        told = problems(tmp_path, ("pixels:", f"  seen: {entry}\npixels:"))
        assert says in " ".join(told)


def test_a_later_file_takes_a_study_away_by_a_null():
    config = {"studies": {"one": {"models": "vit"}, "two": None}, "seeds": None}
    settings.take_away(config)
    assert config == {"studies": {"one": {"models": "vit"}}, "seeds": None}
    settings.take_away({})  # what is wrong with it is told by `check`
    settings.take_away({"studies": [None]})
