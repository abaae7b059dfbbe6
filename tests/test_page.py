"""The figures and the page, drawn from made-up predictions."""

import csv
import io
import json
import re
import runpy
from html import escape
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vl_convert
from PIL import Image

from conftest import COLUMNS, PERTURBATIONS, ROOT, opened
from patchwork import building, columns, comparing, printing, tables, theme, warehouse
from patchwork.catalogue import catalogue
from patchwork.report import gaps, models, page
from test_warehouse import CLASSES, IMAGES, Study

HOSTILE = "<b>&"  # a model's name that would be markup if it were not escaped
ENDING = "</script><script>alert(1)</script>"
FIGURES = catalogue(ROOT / "reports/figures")
# A strip of every perturbation, so that every figure has something to show.
STRIPS = {
    (name, "vit" if entry.get("variants") == "models" else entry.get("variants", ["plain"])[0]): (
        entry["family"],
        entry["levels"][:3],
    )
    for name, entry in catalogue(PERTURBATIONS).items()
}
STRIPS |= {("corrupt", name): ("corruption", [0, 1, 5]) for name in ("snow", "fog", "saturate")}
# Rows of every measure, so that its figures have something to show.
MEASURED = {
    "token_similarity": {
        "image": [0, 1, 0, 1],
        "block": [1, 1, 2, 2],
        "cosine": [0.9, 0.8, 0.5, 0.4],
        "cosine_before_norm": [0.9, 0.7, 0.6, 0.4],
    },
    "block_accuracy": {"image": [0, 1, 0, 1], "block": [1, 1, 2, 2], "rank": [3, 0, 0, 0]},
    "attention": {
        "kind": ["visible"] * 4 + ["distance"] * 4,
        "token": ["class"] * 4 + [None] * 4,
        "block": [1, 1, 2, 2] * 2,
        "head": [None] * 4 + [0, 1] * 2,
        "patch": [None] * 8,
        "image": [0, 1] * 2 + [None] * 4,
        "occluded": [0.3, 0.4, 0.8, 0.9] + [None] * 4,
        "untouched": [0.2, 0.1, 0.2, 0.3] + [None] * 4,
        "visible_fraction": [0.2] * 4 + [None] * 4,
        "distance_pixels": [None] * 4 + [5, 20, 12, 15],
        "deviation_pixels": [None] * 4 + [0.5, 1, 1, 2],
    },
    "information_loss": {
        "kind": ["image", "image", "image", "dimension", "cka"] * 2,
        "level": [0.25] * 5 + [0.5] * 5,
        "seed": [0] * 10,
        "index": [0, 1, CLASSES, 0, None] * 2,  # two of them of one class
        "value": [0.9, 0.7, 0.8, 0.6, 0.8, 0.5, 0.3, 0.4, None, 0.4],
    },
    "segmentation": {
        "image": [0, 1, 0, 1, 0, 1],
        "class_id": [1, 7, 1, 7, 1, 7],
        "token": ["class"] * 6,
        "head": [-1, -1, 0, 0, 1, 1],
        "level": [0.9] * 6,
        "aspect": ["both"] * 6,
        "jaccard": [0.5, 0.4, 0.6, 0.2, 0.3, 0.4],
        "jaccard_void": [0.4, 0.4, 0.5, 0.2, 0.2, 0.4],
        "random": [0.2] * 6,
        "random_void": [0.1] * 6,
    },
    "probe": {
        "protocol": ["validated", "validated", "authors", "validated", "validated"],
        "blocks": ["last", "all", "last", "block", "block"],
        "block": [None, None, None, 1, 2],
        "patch": ["none", "each", "none", "none", "each"],
        "width": [8, 32, 8, 8, 16],
        "parameters": [36, 132, 36, 36, 68],
        "classes": [4] * 5,
        "penalty": [0.1, 0.1, None, 0.1, 0.1],
        "validation_top1": [0.5, 0.6, None, 0.4, 0.5],
        "last_top1": [None, None, 0.5, None, None],
        "top1": [0.5, 1, 1, 0, 0.5],
        "train_images": [2000] * 5,
        "images": [2] * 5,
        "correct": [[True, False], [True, True], [True, True], [False, False], [False, True]],
    },
    "few_shot": {
        "readout": ["last", "last", "last4", "last4"],
        "classifier": ["logistic"] * 2 + ["centroid"] * 2,
        "setting": ["5-way 1-shot"] * 4,
        "seed": [0] * 4,
        "episode": [0, 1] * 2,
        "ways": [5] * 4,
        "supports": [5] * 4,
        "queries": [75] * 4,
        "accuracy": [0.5, 0.6, 0.4, 0.8],
    },
}
LEARNT = {"probe": tables.PROBES, "few_shot": tables.FEW_SHOTS}
WORDS = {
    "segmentation": ("shapes: 2 images", "vit · class", "shapes · as the authors", "mean Jaccard index"),
    "segmentation_threshold": ("shapes: 2 images", "vit", "shapes · class token", "attention taken"),
    "token_similarity": ("shapes: 2 images", "vit", "before it", "cosine of class and shape token"),
    "block_accuracy": ("shapes: 2 images", "vit", "top-1 accuracy", "chance", "block"),
    "attention_visible": (
        "shapes: 2 images",
        "vit",
        "untouched",
        "shapes · class token",
        "chance",
        "attention on visible patches",
    ),
    "attention_distance": ("shapes: 2 images", "vit", "attention distance, pixels"),
    "information_loss": ("shapes: 3 images, 1 seed", "vit", "per image", "linear CKA", "patches dropped"),
    "information_loss_groups": ("shapes: 3 images", "vit", "class0", "class1"),
    "foreground": (
        "shapes: 40 images with a mask",
        "vit",
        "dino",
        "attention",
        "random",
        "mean Jaccard index",
    ),
    "few_shot": (
        "shapes: 2 episodes of each setting, 1 seed",
        "vit",
        "shapes · 5-way 1-shot",
        "last 4 blocks · nearest centroid",
        "accuracy",
    ),
    "transfer": ("shapes: 2 test images, learnt from 2,000", "vit", "last block", "all blocks + patch means"),
    "transfer_blocks": ("shapes: 2 images", "vit", "chance", "class token", "block or stage"),
    "transfer_parameters": ("shapes: 2 images", "vit", "parameters"),
    "transfer_protocol": (
        "shapes: 2 images",
        "shapes · vit",
        "last block",
        "validated",
        "authors, best epoch",
    ),
    "training": ("a run", "another", "40 held-out images", "held-out top-1, %", "loss · slow"),
    "shape_bias_by_category": ("vit", HOSTILE, "shapes: up to 8 images of each shape", "class3"),
    "corruption_error": ("vit", HOSTILE, "shapes: 40 images, 3 seeds", "mean of 3", "100 is"),
}


def draw(path, name):
    figure = runpy.run_path(ROOT / f"reports/figures/{name}.py")
    chart = figure["chart"](warehouse.query(path, figure["SQL"]))
    return json.loads(theme.specification(chart, FIGURES[name]["doc"]))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Of a study with strips for every figure."""
    folder, models = tmp_path_factory.mktemp("study"), {"vit": "vit", HOSTILE: "cnn"}
    scores = [np.arange(IMAGES, dtype=np.int32), np.full(IMAGES, 0.5, np.float32)]
    scores += [*np.random.default_rng(0).random((2, IMAGES), np.float32)]
    foregrounds = [folder / "shapes/vit.parquet", folder / "shapes/dino.parquet"]
    foregrounds[0].parent.mkdir()
    for file in foregrounds:
        pq.write_table(pa.table(scores, ["image", "level", "jaccard", "random"]), file)
    strips = STRIPS | {("adversarial_patch", model): ("patch", [0, 0.25]) for model in models}
    saliency = {"model": "dino", "head": "mean", "grid": "14x14"}
    study = Study(folder, models, strips=strips)
    textures = [f"class{(label + 1) % CLASSES}" for label in study.index["label"].to_pylist()]
    study.index = study.index.append_column("texture_class", [textures])
    whole = Study(folder, models, "whole", {("clean", "plain"): ("clean", [0])})
    epochs = [pa.array([1, 2], field.type) for field in building.EPOCHS if field.name != "run"]
    rows = pa.table(epochs, [name for name in building.EPOCHS.names if name != "run"])
    rows = rows.set_column(rows.column_names.index("held_out_images"), "held_out_images", [[40, 40]])
    pq.write_table(rows, folder / "a run.parquet")
    pq.write_table(rows, folder / "another.parquet")
    measures = []
    for name, values in MEASURED.items():
        file = folder / f"shapes/vit/{name}.parquet"
        file.parent.mkdir(exist_ok=True)
        fields = {column: pa.type_for_alias(kind) for column, kind in COLUMNS.get(name, {}).items()}
        pq.write_table(pa.table(values, LEARNT.get(name) or pa.schema(fields)), file)
        measures.append(
            {"dataset": "shapes", "model": "vit", "measure": name, "model_family": "vit", "file": file}
        )
    training = {"recipe": "slow", "data": "train", "architecture": "a"}
    trainings = [training | {"model": "vit", "run": "a run"}, training | {"model": "dino", "run": "another"}]
    return study.build(
        foregrounds=foregrounds,
        saliency=saliency,
        beside=[whole],
        epochs=[folder / "a run.parquet", folder / "another.parquet"],
        trainings=trainings,
        measures=measures,
    )


@pytest.fixture(scope="module")
def specifications(path):
    return {name: draw(path, name) for name in FIGURES}


def make_page(path, specifications, folder):
    """The file of a page with every figure and a sheet."""
    figures = []
    for name, spec in specifications.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps(spec))
        figures.append((name, f"{FIGURES[name]['doc']}\n\nAnd {ENDING}", file))
    picture = folder / "sheet.webp"
    Image.new("RGB", (96, 64)).save(picture)
    about = {"dataset": "shapes", "perturbation": "random_drop", "variant": "4x4", "levels": [0, 0.1, 0.5]}
    about |= {"axis": "share of <i>tiles</i> dropped", "shows": "Black <i>tiles</i>."}
    settings = {"models": {HOSTILE: {"family": "cnn"}}, "note": ENDING}
    template = (ROOT / "reports/page.html").read_text()
    report = folder / "report.html"
    report.write_text(page.page(template, path, figures, [(about, picture)], [], [], {}, settings))
    return report


@pytest.fixture(scope="module")
def report(path, specifications, tmp_path_factory):
    return make_page(path, specifications, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def text(report):
    """The page without the bundle, whose code names addresses that it never asks for."""
    return report.read_text().replace(vl_convert.javascript_bundle(), "")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_without_rows_can_be_drawn(tmp_path, name):
    strips = {("turn", "plain"): ("another", [0, 1])}
    assert vl_convert.vegalite_to_svg(draw(Study(tmp_path, strips=strips).build(), name))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_can_be_drawn_and_says_what_it_shows(specifications, name):
    drawn = vl_convert.vegalite_to_svg(specifications[name])
    words = " ".join(ElementTree.fromstring(drawn).itertext())
    for expected in WORDS.get(name, ("vit", HOSTILE, "40 images")):
        assert expected in words
    if "theme.curves" in (ROOT / f"reports/figures/{name}.py").read_text():
        for expected in ("chance", "top-1 accuracy", "shapes: 40 images"):
            assert expected in words
    assert specifications[name]["description"] == FIGURES[name]["doc"]


def texts(drawn):
    """The sizes of all texts of an SVG, in its own pixels."""
    for element in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text"):
        if "".join(element.itertext()).strip():
            yield float(element.get("font-size").removesuffix("px"))


@pytest.mark.parametrize("name", FIGURES)
def test_a_print_is_as_wide_as_a_column_and_can_be_read(specifications, name):
    printed = printing.versions(specifications[name])
    drawn = ElementTree.fromstring(printed["svg"])
    assert drawn.get("width") == "85mm"
    scale = 85 / 25.4 * 72 / float(drawn.get("viewBox").split()[2])  # points of a pixel
    assert min(texts(printed["svg"])) * scale >= 6
    [box] = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed["pdf"])
    assert float(box[0]) == pytest.approx(240.94, abs=0.1)
    picture = Image.open(io.BytesIO(printed["png"]))
    assert picture.width == pytest.approx(85 / 25.4 * 300, abs=1.5)
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert picture.getpixel((0, 0))[:3] == (255, 255, 255)
    [rows] = specifications[name]["datasets"].values()
    told = [*csv.DictReader(io.StringIO(printed["csv"].decode()))]
    assert told == [{key: "" if v is None else str(v) for key, v in row.items()} for row in rows]


def test_a_print_of_a_figure_without_rows_says_so(tmp_path):
    strips = {("turn", "plain"): ("another", [0, 1])}
    printed = printing.versions(draw(Study(tmp_path, strips=strips).build(), "corruption"))
    assert b"Nothing was measured that this figure could show." in printed["csv"]
    words = " ".join(ElementTree.fromstring(printed["svg"]).itertext())
    assert "Nothing was measured that this figure could show." in words
    assert printed["pdf"].startswith(b"%PDF") and Image.open(io.BytesIO(printed["png"])).width == 1003


def encodings(spec, key):
    """What a specification encodes by a channel, in each of its layers."""
    if isinstance(spec, dict):
        if key in spec.get("encoding", {}):
            yield spec["encoding"][key]
        spec = [value for name, value in spec.items() if name != "datasets"]
    if isinstance(spec, list):
        for piece in spec:
            yield from encodings(piece, key)


NO_INTERVAL = {"training", "offset_tokens"}  # losses of an epoch; what masks cover, which is not sampled


@pytest.mark.parametrize("name", FIGURES)
def test_tooltips_tell_the_interval_and_how_many_were_sampled(specifications, name):
    told = [each for each in encodings(specifications[name], "tooltip") if isinstance(each, list)]
    full = max(([part["title"] for part in each] for each in told), key=len)
    assert "model" in full and {"images", "episodes", "decided images"} & {*full}
    assert "95 % interval" in full or name in NO_INTERVAL
    rows = [row for values in specifications[name]["datasets"].values() for row in values]
    if any(row.get("seeds") is not None for row in rows):
        assert "seeds" in full


def test_a_tooltip_has_a_dash_for_what_is_not_known():
    rows = pa.table({"model": ["a", "a"], "level": [0.0, 0.1], "seed_spread": [None, 0.01]})
    rows = rows.append_column("low", [[None, 0.2]]).append_column("high", [[None, 0.3]])
    rows = rows.append_column("difference", [pa.array([None, None], pa.float64())])
    chart = theme.told(alt.Chart(rows).mark_point().encode(x="level:Q"), rows)
    told = vl_convert.vegalite_to_svg(chart.to_dict())
    [first, second] = re.findall(r'aria-label="([^"]*)"[^>]*aria-roledescription="point"', told)
    assert "spread over seeds: -" in first and "95 % interval: -" in first
    assert "spread over seeds: 1.00%" in second and "95 % interval: 20.0% to 30.0%" in second
    assert "reference" not in told


def looks(spec, channel):
    """The models of a chart and what stands for each of them in a channel."""
    scales = re.findall(
        rf'"{channel}": {{"field": "model", "scale": {{"domain": (\[.*?\]), "range": (\[.*?\])',
        json.dumps(spec),
    )
    assert scales
    [(models, range_)] = set(scales)
    return dict(zip(json.loads(models), json.loads(range_), strict=True))


def test_a_model_looks_the_same_in_every_figure_even_where_others_are_missing(path):
    cells = warehouse.query(path, "FROM accuracy")
    few = warehouse.query(path, "FROM accuracy WHERE model = 'vit'")
    for channel in ("color", "shape"):
        both, one = (looks(theme.curves(rows, "", "lost:Q").to_dict(), channel) for rows in (cells, few))
        assert len(set(both.values())) == 2
        assert one == {"vit": both["vit"]}


def test_a_model_has_one_colour_in_all_figures(specifications):
    found = {}
    for name, spec in specifications.items():
        for colour in encodings(spec, "color"):
            if colour.get("field") == "model":
                scale = colour["scale"]
                for model, value in zip(scale["domain"], scale["range"], strict=True):
                    found.setdefault(model, {}).setdefault(value, set()).add(name)
    assert {"vit", HOSTILE} <= {*found}
    assert [len(colours) for colours in found.values()] == [1] * len(found), found
    drawn = set().union(*(names for colours in found.values() for names in colours.values()))
    # Colour tells something else there: a number, what was trained on, an answer, what is left of tokens.
    others = {"corruption_error", "error_consistency", "patch_transfer", "shape_bias", "readability"}
    assert {*FIGURES} - drawn == others | {"offset_tokens"}


@pytest.mark.parametrize("name", FIGURES)
def test_a_legend_of_names_chooses_among_them(specifications, name):
    spec = specifications[name]
    fields = {colour["field"] for colour in encodings(spec, "color") if "field" in colour}
    bound = [param["select"]["fields"] for param in spec.get("params", []) if param.get("bind") == "legend"]
    numbers = {"corruption_error": "ce", "error_consistency": "kappa", "patch_transfer": "top1"}
    if name in numbers:
        assert fields == {numbers[name]} and not bound
    else:
        # The protocol of a transfer is told by the form of a mark.
        assert bound == [[{"transfer_protocol": "way"}.get(name, *fields)]]


def test_56_models_have_looks_of_their_own():
    assert len({(theme.COLOURS[n % 8], theme.SHAPES[n % 7]) for n in range(56)}) == 56
    assert (len(theme.COLOURS), len(theme.SHAPES)) == (8, 7)


@pytest.mark.parametrize("ground", ["#ffffff", "#15181d"])
def test_colours_stand_out_from_light_and_dark_pages(ground):
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert ground in (ROOT / "reports/page.html").read_text()
    for colour in theme.COLOURS:
        low, high = sorted([luminance(colour), luminance(ground)])
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_panels_are_sorted_as_people_count():
    assert sorted(["a · 16x16 grid", "b", "a · 8x8 grid"], key=theme.natural)[0] == "a · 8x8 grid"


def test_the_page_loads_nothing(text):
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)
    assert not re.search(r"url\(|@import|<link|<script[^>]+src", text)
    assert "default-src 'none'" in text
    assert set(re.findall(r'src="([^";]{1,16})', text)) == {"data:image/webp"}


def test_the_page_escapes_what_it_is_given(text):
    assert escape(HOSTILE) in text and HOSTILE not in text
    assert ENDING not in text and escape(ENDING) in text
    assert "class0/&lt;bad&gt;.png" in text and "<bad>" not in text
    assert text.count("<script") == text.count("</script>") == 2 + len(FIGURES)


def test_the_page_has_all_its_parts(text):
    for part in ("models", "figures", "sheets", "skipped", "settings", *FIGURES):
        assert f'id="{part}"' in text
    assert "2 models on shapes (40 images, 5 classes), whole (40 images, 5 classes); seeds 0, 1, 2." in text
    assert "Not above chance" not in text
    assert "share of &lt;i&gt;tiles&lt;/i&gt; dropped: 0, 0.1, 0.5" in text
    assert "Black &lt;i&gt;tiles&lt;/i&gt;." in text
    assert "duckdb 2" in text


def test_numbers_of_a_figure_stand_below_it(path, text):
    [row] = warehouse.query(
        path, "FROM accuracy WHERE model = 'vit' AND perturbation = 'random_drop' AND level = 0.2"
    ).to_pylist()
    cells = ["vit", "0.2", "20.0%", f"{row['top1']:.1%}", f"{row['low']:.1%}", f"{row['high']:.1%}"]
    cells += [f"{row['seed_spread']:.2%}", "20.0%", "0.0%"]
    cells += [f"{row[name]:+.1%}" for name in ("difference", "difference_low", "difference_high")]
    cells += [f"{row['relative']:.1%}", "40", "3"]
    found = re.findall(r"<tr>(.*?)</tr>", text)
    assert cells in [re.findall(r"<td[^>]*>(.*?)</td>", line)[1:] for line in found]


def test_a_model_near_chance_is_told():
    row = {"model": HOSTILE, "model_family": "cnn", "dataset": "shapes", "top1": 0.25, "low": 0.14}
    row |= {"high": 0.4, "images": 40, "chance": 0.2, "against_chance": "not told apart"}
    row |= {"perturbed": True}
    told = models.untouched([row])
    assert f"<strong>Not told apart from chance:</strong> {escape(HOSTILE)} on shapes" in told
    assert "<td>not told apart</td>" in told
    # There are no curves to warn of.
    assert "Not told apart" not in models.untouched([row | {"perturbed": False}])


def test_a_page_without_sheets_and_files_left_out_has_no_empty_sections(path):
    template = (ROOT / "reports/page.html").read_text()
    text = page.page(template, path, [], [], [], [], {}, {"seeds": [0]})
    assert 'id="sheets"' not in text and 'id="figures"' not in text
    assert gaps.skipped([]) == ""


def test_two_runs_are_compared_by_what_measures_find_too(path):
    units = (ROOT / "reports/runs_compared.sql").read_text()
    rows = comparing.compare(path, path, units, threads=1, memory_mb=500).to_pylist()
    assert {row["measure"] for row in rows} == {
        *("top-1", "shape bias", "foreground", "segmentation", "information loss"),
        *("block accuracy", "transfer", "few-shot"),
    }
    assert all((row["difference"], row["changed_units"]) == (0, 0) for row in rows)


def number(text):
    """What a cell of a table says, in whatever way a number is written."""
    words = {"True": "true", "False": "false"}
    try:
        return float(text)
    except ValueError:
        return words.get(text, text)


def cells(table):
    """What the cells of a CSV say."""
    return [[number(cell) for cell in row] for row in csv.reader(io.StringIO(table))]


@pytest.mark.parametrize("width", [500, 1200])
def test_the_page_draws_every_figure_in_a_browser_and_saves_its_rows(chromium, report, specifications, width):
    with opened(chromium, report, viewport={"width": width, "height": 900}) as drawn:
        for name in FIGURES:
            chart = drawn.locator(f"#chart-{name} svg")
            assert width / 2 < int(chart.get_attribute("width")) <= width - 40
            assert WORDS.get(name, ["40 images"])[0] in chart.text_content()
            printed = printing.table(columns.rows(specifications[name]))
            saved = drawn.evaluate("name => decodeURIComponent(table(name).replace(/^[^,]*,/, ''))", name)
            assert cells(saved) == cells(printed) and len(cells(saved)) > 1
        with drawn.expect_download() as download:
            drawn.locator("#occlusion [data-save=csv]").click()
        assert download.value.suggested_filename == "occlusion.csv"
        saved, printed = download.value.path(), printing.table(columns.rows(specifications["occlusion"]))
        assert cells(saved.read_text()) == cells(printed)


def test_numbers_are_sorted_as_numbers(chromium, report):
    with opened(chromium, report) as page:
        table = page.locator("#models table").first
        place = table.locator("thead th").all_inner_texts().index("top-1")
        for order in (1, -1):
            table.locator("thead button").nth(place).press("Enter")
            cells = table.locator(f"tbody td:nth-child({place + 1})").all_inner_texts()
            numbers = [float(cell.rstrip("%")) for cell in cells]
            assert numbers == sorted(numbers, reverse=order < 0) and len(set(numbers)) > 1
