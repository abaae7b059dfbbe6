"""Categories: answers of a model pooled as Geirhos et al. do, and stimuli whose names tell both cues.

The references are the lists and the rule of their code, and shape bias computed by another program.
"""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo

from conftest import ROOT, Project, save_random_weights
from patchwork import folders, models, packed, pixels
from test_models import CNN, VIT, network, pictures
from test_pixels import packed_folder, photograph

GEIRHOS = ROOT / "rules/categories/geirhos.csv"
# Places among the 1,000 outputs, as human_categories.py of Geirhos et al. lists them beside WordNet ids.
INDICES = {
    "airplane": [404],
    "bear": [294, 295, 296, 297],
    "bicycle": [444, 671],
    "bird": [
        *(8, *range(10, 17), 18, 19, 20, 22, 23, 24, 80, 81, 82, 83, *range(87, 97), 98, 99, 100),
        *(*range(127, 134), *range(135, 146)),
    ],
    "boat": [472, 554, 625, 814, 914],
    "bottle": [440, 720, 737, 898, 899, 901, 907],
    "car": [436, 511, 817],
    "cat": [*range(281, 287)],
    "chair": [423, 559, 765, 857],
    "clock": [409, 530, 892],
    "dog": [
        *(*range(152, 192), *range(193, 204), *range(205, 227), *range(228, 242), *range(243, 251)),
        *(*range(252, 258), 259, 261, 262, 263, 265, 266, 267, 268),
    ],
    "elephant": [385, 386],
    "keyboard": [508, 878],
    "knife": [499],
    "oven": [766],
    "truck": [555, 569, 656, 675, 717, 734, 864, 867],
}
NAMED = {"insect": ["ant", "bee"], "mammal": ["cat"], "other": ["eel", "dog"]}


# ---- the list ----


def test_the_list_of_geirhos_holds_the_classes_of_his_indices():
    order = sorted(ImageNetInfo().label_names())
    found = {name: sorted(map(order.index, ids)) for name, ids in folders.read_categories(GEIRHOS).items()}
    assert found == INDICES and [*found] == sorted(found)
    assert {name: len(INDICES[name]) for name in ("dog", "bird", "truck", "knife")} == {
        "dog": 109, "bird": 49, "truck": 8, "knife": 1,
    }  # fmt: skip
    assert sum(map(len, INDICES.values())) == 207


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "name,category\nant,insect\n",
            "needs the columns class,category (or wnid,category): it has name,category",
        ),
        ("class,category\nant,insect\nant,mammal\n", "class 'ant' stands in"),
        ("class,category\nant\n", "has the line 'ant': it should be a class and a category"),
        ("class,category\n", "names no category"),
        ("", "needs the columns class,category"),
    ],
)
def test_another_file_is_no_list_of_categories(tmp_path, text, says):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        folders.read_categories(path)
    assert says in str(error.value) and "own.csv" in str(error.value)


# ---- the rule ----


def pooled_by_numpy(logits, members):
    """The mean probability of the members of each category."""
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    return np.stack([probabilities[:, each].mean(1) for each in members], 1)


def pool(logits, members):
    outputs = torch.tensor([output for each in members for output in each])
    return models.pooled(logits, outputs, [len(each) for each in members])


@pytest.mark.parametrize("scale", [1, 10, 300])
def test_a_category_has_the_mean_probability_of_its_classes(scale):
    logits = scale * torch.randn(50, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, expected = pool(logits, INDICES.values()), pooled_by_numpy(logits.numpy(), INDICES.values())
    assert found.isfinite().all()
    sums = expected.sum(1, keepdims=True)
    some = sums[:, 0] > 0  # float64 can tell no more
    assert np.allclose(found.softmax(1).numpy()[some], (expected / np.where(sums, sums, 1))[some], atol=1e-5)
    apart = np.sort(expected, 1)[:, -1] - np.sort(expected, 1)[:, -2] > 1e-6 * expected.max(1)
    told = some & apart
    assert told.sum() > 30 and (found.argmax(1).numpy() == expected.argmax(1))[told].all()


def test_the_mean_is_no_sum_and_no_maximum():
    logits = torch.log(torch.tensor([[0.3, 0.02, 0.28, 0.2, 0.2]]))
    assert pool(logits, [[0, 1], [2], [3, 4]]).argmax().item() == 1
    assert pool(logits, [[0, 1], [2], [3, 4]]).softmax(1)[0].tolist() == pytest.approx(
        [0.16 / 0.64, 0.28 / 0.64, 0.2 / 0.64]
    )


# ---- models ----


def built(tmp_path, classes, categories, learnt=None, entry=VIT):
    models.save(tmp_path / "w.safetensors", network(entry).state_dict(), learnt)
    return models.build(entry, tmp_path / "w.safetensors", classes, categories)


LEARNT = ["ant", "bee", "cat", "dog", "eel"]


@torch.no_grad()
def test_a_model_answers_with_categories_of_the_classes_it_learnt(tmp_path):
    plain = built(tmp_path, LEARNT, None, LEARNT)
    model = built(tmp_path, [*NAMED], NAMED, LEARNT)
    images, members = pictures(4), [[0, 1], [2], [4, 3]]
    expected = pooled_by_numpy(plain(images).double().numpy(), members)
    assert model(images).shape == (4, 3)
    assert np.allclose(model(images).softmax(1), expected / expected.sum(1, keepdims=True), atol=1e-5)
    assert model.origin == plain.origin | {"categories": members}
    assert "categories" not in plain.origin


def test_a_model_of_a_thousand_classes_is_one_of_imagenet(tmp_path):
    entry = CNN | {"options": CNN["options"] | {"num_classes": 1000}}
    categories = folders.read_categories(GEIRHOS)
    model = built(tmp_path, [*categories], categories, entry=entry)
    assert [sorted(each) for each in model.origin["categories"]] == [*INDICES.values()]
    assert model.outputs.tolist() == [output for each in model.origin["categories"] for output in each]


@torch.no_grad()
def test_a_model_whose_outputs_are_the_categories_is_left_as_it_is(tmp_path):
    categories = {name: [f"{name} 1", f"{name} 2"] for name in LEARNT}
    plain = built(tmp_path, LEARNT, None)
    for learnt in (None, LEARNT):
        model = built(tmp_path, LEARNT, categories, learnt)
        assert model.origin == plain.origin and torch.equal(model(pictures()), plain(pictures()))


def test_what_cannot_answer_with_the_categories_says_so(tmp_path):
    with pytest.raises(
        ValueError, match=r"vit_tiny_patch16_224 tells 5 classes apart and does not know their names"
    ):
        built(tmp_path, [*NAMED], NAMED)
    with pytest.raises(ValueError, match=r"has not learnt the class 'eel' \(1 such\)"):
        built(tmp_path, [*NAMED], NAMED, ["ant", "bee", "cat", "dog", "elk"])


def test_attacks_see_through_the_categories(tmp_path):
    model = built(tmp_path, [*NAMED], NAMED, LEARNT)
    images = pictures(4).requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 2, 0]))
    [gradient] = torch.autograd.grad(loss, images)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()


# ---- names of stimuli ----


@pytest.mark.parametrize(
    ("path", "folder", "texture"),
    [
        ("airplane/airplane1-bicycle2.png", "airplane", "bicycle"),
        ("airplane/airplane10-airplane3.JPEG", "airplane", "airplane"),
        ("deep/er/car2-knife11.png", "car", "knife"),
    ],
)
def test_a_stimulus_tells_its_texture(path, folder, texture):
    assert folders.texture_class(path, folder, [*INDICES]) == texture


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "airplane/car1-bicycle2.png",
            "is not named as a stimulus with the shape of its folder, like airplane1-",
        ),
        ("airplane/airplane1.png", "is not named as a stimulus"),
        ("airplane/airplane1-bicycle.png", "is not named as a stimulus"),
        (
            "airplane/airplane1-lamp2.png",
            "has the texture 'lamp', which is no class: there are airplane, bear",
        ),
    ],
)
def test_another_name_is_refused(path, says):
    with pytest.raises(ValueError) as error:
        folders.texture_class(path, "airplane", [*INDICES])
    assert says in str(error.value) and path in str(error.value)


def stimuli(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        photograph().save(root / name)
    return root


def test_packing_writes_textures_and_categories(tmp_path):
    root = stimuli(tmp_path / "root", "bear/bear1-car2.png", "bear/bear2-bear1.png", "car/car1-oven3.png")
    _, rows, data, _ = packed_folder(root, tmp_path, categories=GEIRHOS, names="cue_conflict")
    assert [row["texture_class"] for row in rows] == ["car", "bear", "oven"]
    assert data.classes == [*INDICES] and data.categories == folders.read_categories(GEIRHOS)
    assert data.labels.tolist() == [data.classes.index(name) for name in ("bear", "bear", "car")]
    plain = packed_folder(root, tmp_path)[2]
    assert plain.categories is None and plain.classes == ["bear", "car"]


def test_packing_refuses_what_does_not_fit(tmp_path):
    root = stimuli(tmp_path / "root", "bear/bear1-car2.png", "lamp/lamp1-bear2.png")
    with pytest.raises(ValueError, match=r"class folder 'lamp' \(1 such\) is not in .*geirhos\.csv"):
        packed_folder(root, tmp_path, categories=GEIRHOS)
    with pytest.raises(ValueError, match="has the texture 'car', which is no class: there are bear, lamp"):
        packed_folder(root, tmp_path, names="cue_conflict")
    columns = tmp_path / "columns.csv"
    columns.write_text("path,texture_class\nbear/bear1-car2.png,car\n")
    with pytest.raises(ValueError, match="tells a texture_class and so do the names of files"):
        stimuli(root, "car/car1-bear1.png")
        packed_folder(root, tmp_path, columns=columns, names="cue_conflict")


# ---- a whole run ----

CONFIG = """\
datasets:
  stimuli: {root: stimuli, categories: geirhos, names: cue_conflict, decisions: decisions, family: conflict}
  listed: {root: stimuli, categories: own.csv, columns: textures.csv, family: conflict}
pixels: {resize: 32, crop: 32, interpolation: bilinear}
models:
  cnn: {family: cnn, timm: test_resnet, size: 32, weights: cnn.safetensors}
studies:
  bias: {datasets: conflict, models: cnn, perturbations: clean}
seeds: [0]
"""
SHAPES, TEXTURES = ["bear", "car", "oven"], ["car", "oven", "bear", "bear"]


@pytest.fixture
def stimulus_project(tmp_path):
    project = Project.create(tmp_path / "project")
    project.path("config.yaml").write_text(CONFIG)
    save_random_weights(project.path("cnn.safetensors"), {"timm": "test_resnet"}, 1000)
    names = [
        f"{shape}/{shape}{n}-{texture}{n}.png" for shape in SHAPES for n, texture in enumerate(TEXTURES, 1)
    ]
    stimuli(project.path("stimuli"), *names)
    shutil.copy(GEIRHOS, project.path("own.csv"))
    lines = [f"{name},{name.split('-')[1].split('.')[0][:-1]}" for name in names]
    project.path("textures.csv").write_text("\n".join(["path,texture_class", *lines]))
    project.path("decisions").mkdir()
    project.path("decisions/a.csv").write_text(
        "subj,session,trial,rt,object_response,category,condition,imagename\n"
        "subject-01,1,1,NaN,na,bear,0,0001_bear_00_bear1-car1.png\n"
        "subject-01,1,2,NaN,car,car,0,0002_car_00_car2-oven2.png\n"
    )
    return project


@pytest.mark.slow
def test_a_folder_of_stimuli_becomes_a_shape_bias_and_names_and_columns_tell_the_same(stimulus_project):
    from patchwork import warehouse

    stimulus_project.run()
    path = stimulus_project.path("results/warehouse.duckdb")
    found = warehouse.query(path, "FROM observed_bias WHERE kind = 'model' ORDER BY dataset").to_pylist()
    assert [row["dataset"] for row in found] == ["listed", "stimuli"]
    counts = [{key: row[key] for key in ("images", "shape", "texture", "class_mean")} for row in found]
    assert counts[0] == counts[1] and counts[0]["images"] == 8  # 12 stimuli, 4 of which are no conflict
    people = warehouse.query(path, "FROM observed_bias WHERE kind = 'people'").to_pylist()
    assert [(row["dataset"], row["observer"], row["shape"], row["texture"]) for row in people] == [
        ("listed", "humans (published)", 9236, 398),
        ("stimuli", "humans, n = 1", 1, 0),
    ]
    assert stimulus_project.plan() == {}
    stimulus_project.edit("decisions/a.csv", ",na,", ",bear,")
    report = {"build_warehouse": 1, "draw_figure": 6, "write_report": 1}
    assert stimulus_project.plan() == report
    stimulus_project.edit("own.csv", "n03041632,knife\n", "n03041632,knife\nn03041633,knife\n")
    assert stimulus_project.plan() == report | {"pack_images": 1, "predict": 1}
    assert "has not learnt the class 'n03041633'" in stimulus_project.run(check=False)


def test_images_that_are_published_in_the_size_of_the_crop_are_seen_as_they_are(stimulus_project):
    for path in stimulus_project.path("stimuli").rglob("*.png"):
        Image.open(path).resize((32, 32)).save(path)
    stimulus_project.edit("config.yaml", "{resize: 32", "{resize: 40")
    stimulus_project.edit("config.yaml", "names: cue_conflict,", "names: cue_conflict, resize: 32,")
    stimulus_project.run("results/images/stimuli.npy", "results/images/listed.npy")
    first = min(stimulus_project.path("stimuli/bear").glob("*.png"))
    seen, enlarged = (
        np.load(stimulus_project.path(f"results/images/{n}.npy"))[0] for n in ("stimuli", "listed")
    )
    assert np.array_equal(seen, np.moveaxis(np.array(Image.open(first)), 2, 0))
    assert enlarged.shape == seen.shape and not np.array_equal(enlarged, seen)


def test_files_that_are_not_there_are_told_before_anything_runs(stimulus_project):
    stimulus_project.edit("config.yaml", "categories: geirhos", "categories: geirhas")
    stimulus_project.edit("config.yaml", "decisions: decisions", "decisions: decision")
    told = stimulus_project.run("--dry-run", check=False)
    assert "datasets.stimuli.categories: there is no file geirhas; the workflow itself has geirhos" in told
    assert "datasets.stimuli.decisions: there is no folder decision with CSV files" in told


@pytest.mark.slow
def test_the_shape_bias_of_a_real_network_is_that_of_another_program(real, tmp_path):
    view = {"resize": 224, "crop": 224, "interpolation": "bilinear"}
    pixels.pack(
        real / "cue-conflict", tmp_path / "c.npy", tmp_path / "c.parquet", view, categories=GEIRHOS,
        names="cue_conflict",
    )  # fmt: skip
    from safetensors.torch import load_file

    weights = load_file(real / "weights/tf_efficientnet_lite0.safetensors")
    models.save(tmp_path / "w.safetensors", weights)
    data = packed.Packed(tmp_path / "c.npy", tmp_path / "c.parquet")
    model = models.build(
        {"timm": "tf_efficientnet_lite0"}, tmp_path / "w.safetensors", data.classes, data.categories
    )
    net = models.create({"timm": "tf_efficientnet_lite0"}, 1000).eval()
    net.load_state_dict(weights)
    shape = texture = 0
    with torch.inference_mode():
        for first in range(0, len(data.paths), 32):
            last = min(first + 32, len(data.paths))
            answers = model(packed.pixels(data, first, last, "cpu")).argmax(1).tolist()
            path = real / "cue-conflict" / data.paths[first]  # one of each batch, from its file
            image = torch.from_numpy(np.array(Image.open(path).convert("RGB")))
            logits = net((image.permute(2, 0, 1)[None] / 255 - 0.5) / 0.5).double().numpy()
            assert pooled_by_numpy(logits, INDICES.values()).argmax() == answers[0]
            for name, answer in zip(data.paths[first:last], answers, strict=True):
                cues = [part.rstrip("0123456789") for part in name.split("/")[1].split(".")[0].split("-")]
                if cues[0] != cues[1]:
                    shape += data.classes[answer] == cues[0]
                    texture += data.classes[answer] == cues[1]
    # 0.232 on all 1,200 conflicts; these are about half of them
    assert shape / (shape + texture) == pytest.approx(
        0.232, abs=1.96 * np.sqrt(0.232 * 0.768 / (shape + texture))
    )
