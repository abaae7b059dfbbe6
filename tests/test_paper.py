"""config/imagenet.yaml holds the whole paper: docs/paper.md says where, and this holds it to that."""

import csv
import re
import shutil
from itertools import product

import duckdb
import pytest
import yaml

import stand_ins
from conftest import LISTS, MEASURES, PERTURBATIONS, ROOT, SQL, Project
from patchwork import settings
from patchwork.catalogue import catalogue, variants

CONFIG = yaml.safe_load((ROOT / "config/imagenet.yaml").read_text())
SCHEMA = yaml.safe_load((ROOT / "rules/config.schema.yaml").read_text())
CORRUPTIONS = catalogue(PERTURBATIONS)["corrupt"]["variants"][:15]
FIGURES = catalogue(ROOT / "reports/figures")
CLAIMS = {row["key"]: row for row in csv.DictReader(LISTS["claims"].open())}
PAGE = (ROOT / "docs/paper.md").read_text()
# What an experiment of reports/published.csv is measured by, where that is no perturbation.
MEASURED = {
    "feature_correlation": "information_loss",
    "feature_correlation_superclass": "information_loss",
    "voc12_segmentation": "segmentation",
    "token_cosine_similarity": "token_similarity",
    "blockwise_cls_token": "block_accuracy",
}


def tables():
    """The rows of all tables of the page, {column: cell}."""
    for table in re.findall(r"(?:^\|.*\|\n)+", PAGE, re.M):
        head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        yield from (dict(zip(head, row, strict=True)) for row in rows)


def names(row, column):
    return re.findall(r"`([^`]+)`", row.get(column, ""))


ROWS = [row for row in tables() if "studies" in row]
EXPERIMENTS = [row for row in ROWS if not row["place"].startswith(("sections", "not in"))]


def asked(study):
    """What a study asks for: strips (dataset, model, perturbation, variant, level), and measures and readouts
    (dataset, model, name); readouts have no dataset."""
    config = CONFIG | {"studies": {study: CONFIG["studies"][study]}}
    found = variants(catalogue(PERTURBATIONS), list(CONFIG["models"]))
    found = settings.with_chosen(found, CONFIG["levels"], {})
    strips = {
        (s["dataset"], s["model"], s["perturbation"], s["variant"], round(level, 6))
        for s in settings.asked(config, found)
        for level in s["levels"]
    }
    others = {(m["dataset"], m["model"], m["measure"]) for m in settings.asked_measures(config, MEASURES)}
    for kind in ("transfers", "few_shots"):
        readouts = settings.asked_readouts(config, kind)
        others |= {(None, each["model"], each[kind.removesuffix("s")]) for each in readouts}
    return strips, others


ASKED = {study: asked(study) for study in CONFIG["studies"]}
STRIPS = set().union(*(strips for strips, _ in ASKED.values()))
OTHERS = set().union(*(others for _, others in ASKED.values()))


def published(sql):
    """Rows of what reports/marts/0_published.sql makes of the published numbers for this config."""
    connection = duckdb.connect()
    connection.execute("SET VARIABLE published = ?", [str(LISTS["published"])])
    connection.execute("CREATE TABLE published_as (kind TEXT, name TEXT, published TEXT, head TEXT)")
    connection.execute("CREATE TABLE saliency (model TEXT, head TEXT, grid TEXT)")
    told = CONFIG["saliency"]
    connection.execute(
        "INSERT INTO saliency VALUES (?, ?, ?)", [told["model"], str(told["head"]), told["grid"]]
    )
    for kind, (name, entry) in [
        *product(["dataset"], CONFIG["datasets"].items()),
        *product(["model"], CONFIG["models"].items()),
    ]:
        if "published" in entry:
            row = [kind, name, entry["published"], entry.get("head")]
            connection.execute("INSERT INTO published_as VALUES (?, ?, ?, ?)", row)
    connection.execute(SQL[0][0])
    return connection.sql(sql).fetchall()


# ---- The page and the config agree. ----


def test_every_figure_and_table_of_the_paper_has_a_place():
    told = [row["place"] for row in tables()]
    numbers = {"figure": set(), "table": set()}
    for kind, those in re.findall(r"^(figure|table)s? ([\d, ]+)", "\n".join(told), re.M):
        numbers[kind] |= {int(number) for number in re.findall(r"\d+", those)}
    assert numbers == {"figure": {*range(1, 32)}, "table": {1, 3, 4, 5, 6, 7, 8}}
    assert len(told) - len({*told}) == 1  # two that are not in the paper


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: row["place"] + " " + row["studies"].strip("`").split("`")[0]
)
def test_studies_ask_for_what_the_page_says(row):
    studies = names(row, "studies")
    assert studies and {*studies} <= CONFIG["studies"].keys()
    here = {
        name for study in studies for _, _, *rest, _ in ASKED[study][0] for name in (rest[0], "/".join(rest))
    }
    here |= {name for study in studies for *_, name in ASKED[study][1]}
    assert names(row, "asks") and {*names(row, "asks")} <= here
    for study in studies:  # none of them is there for nothing
        own = {n for _, _, *rest, _ in ASKED[study][0] for n in (rest[0], "/".join(rest))}
        assert (own | {name for *_, name in ASKED[study][1]}) & {*names(row, "asks")}
    assert {*names(row, "figures")} <= FIGURES.keys()
    assert {*names(row, "claims")} <= CLAIMS.keys()


@pytest.mark.parametrize("row", EXPERIMENTS, ids=lambda row: row["place"])
def test_claims_and_numbers_of_the_page_are_those_of_the_reports(row):
    for claim in names(row, "claims"):
        assert CLAIMS[claim]["figure"] in names(row, "figures")
    place = row["place"].replace("'", "''")
    [(count,)] = published(
        f"SELECT count(*) FROM published WHERE place_in_paper(experiment, model) = '{place}'"
    )
    assert row["numbers"] == (str(count) if count else "")


def test_no_study_claim_or_place_of_a_number_is_left_out():
    assert {study for row in ROWS for study in names(row, "studies")} == CONFIG["studies"].keys()
    told = [claim for row in ROWS for claim in names(row, "claims")]
    assert sorted(told) == sorted(key for key, row in CLAIMS.items() if row["source"] != "ours")
    places = {
        place for (place,) in published("SELECT DISTINCT place_in_paper(experiment, model) FROM published")
    }
    assert places - {None} <= {row["place"] for row in EXPERIMENTS}


# ---- The config asks for what was published. ----


def test_every_network_of_the_paper_is_a_model():
    known = SCHEMA["properties"]["models"]["additionalProperties"]["properties"]["published"]["enum"]
    assert {entry.get("published") for entry in CONFIG["models"].values()} - {None} == {*known}


def test_every_published_number_is_asked_for():
    found = published(
        "SELECT experiment, model, dataset, perturbation, variant, level, metric FROM published_here"
    )
    assert len(found) > 600
    for experiment, model, dataset, perturbation, variant, level, metric in found:
        if perturbation:
            assert (dataset, model, perturbation, variant, level) in STRIPS, (experiment, model, level)
        elif experiment in MEASURED:
            # Of a student one of the two heads is measured, which is that of both tokens.
            alike = [
                n
                for n, e in CONFIG["models"].items()
                if e.get("weights", n) == CONFIG["models"][model].get("weights", model)
            ]
            assert any((dataset, one, MEASURED[experiment]) in OTHERS for one in alike), (experiment, model)
        elif metric != "mCE":
            assert any(strip[:2] == (dataset, model) for strip in STRIPS), (experiment, model)


def test_mean_corruption_errors_are_of_all_corruptions_and_severities():
    networks = published("SELECT DISTINCT model FROM published_here WHERE experiment = 'imagenet_c_mce'")
    assert len(networks) == 10
    wanted = product(["imagenet"], [model for (model,) in networks], ["corrupt"], CORRUPTIONS, range(1, 6))
    assert {*wanted} <= STRIPS
    assert CONFIG["datasets"]["imagenet"]["imagenet_c"]


def test_transfers_have_the_names_and_splits_of_the_paper():
    wanted = published(
        "SELECT DISTINCT lower(dataset), regexp_replace(model, ' .*', '') FROM published "
        "WHERE experiment = 'off_the_shelf_classification'"
    )
    named = {entry.get("published"): name for name, entry in CONFIG["models"].items()}
    assert len(wanted) == 7 * 3
    assert {(None, named[network], transfer) for transfer, network in wanted} <= OTHERS


def test_claims_compare_what_the_paper_compares():
    families = {}
    for name, entry in CONFIG["models"].items():
        families.setdefault(entry["family"], {*()}).add(name)
    assert families["cnn"] == {"resnet50", "vgg19_bn", "densenet121", "squeezenet"}
    assert families["swin"] == {"swin_tiny", "swin_small", "swin_base"}
    assert len(families["vit"]) == 10
    # What is trained here stands beside the paper's own weights and is none of them.
    assert not [name for name in families["here"] if "published" in CONFIG["models"][name]]
    assert {CONFIG["models"][name]["run"] for name in families["here"]} == CONFIG["runs"].keys()


# ---- The whole can be planned. ----


@pytest.fixture
def paper(tmp_path):
    """A project of the paper's run, with stand-ins for all data."""
    project = Project.create(tmp_path / "project", "config/imagenet.yaml")
    stand_ins.make(CONFIG, project.folder)
    return project


def told_of(project, *words):
    """What planning tells: of each row of its first table (jobs, passes), and how many jobs of each rule."""
    told = project.run("--dry-run", *words, "--quiet", "rules")
    rows = re.findall(r"^(\w+) +([\d,]+) +[\d,]+ +([\d,]+) +[\d,.]+ +[\d,.]+$", told, re.M)
    rows = {name: tuple(int(number.replace(",", "")) for number in numbers) for name, *numbers in rows}
    return rows, {
        rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", told.split("Job stats:")[1], re.M)
    }


def test_the_paper_can_be_planned(paper):
    paper.path("data/weights/augmix.pth.tar").unlink()
    assert "there is no file data/weights/augmix.pth.tar" in paper.run("--dry-run", check=False)
    stand_ins.touch(paper.path("data/weights/augmix.pth.tar"))
    rows, jobs = told_of(paper)
    assert rows.keys() == CONFIG["studies"].keys() | {"trainings", "together"}
    assert all(passes > 0 for _, passes in rows.values())
    assert jobs["predict"] == len({strip[:4] for strip in STRIPS})
    assert jobs["measure"] + jobs["probe"] + jobs["few_shot"] == len(OTHERS)
    assert jobs["train_stage"] == 6 + 10 * 10  # ResNet50, and ten of DeiT's 300 epochs
    assert jobs["export_weights"] == len(CONFIG["runs"])
    assert jobs["stylize_images"] == 64 + 4


def test_a_part_of_the_paper_can_be_planned_without_what_is_trained(paper):
    shutil.copy(ROOT / "config/imagenet-5k.yaml", paper.path("5k.yaml"))
    for place in ("imagenet/val", "imagenet/train"):
        for number in range(stand_ins.IMAGES, 6000 if place == "imagenet/val" else 0):
            stand_ins.touch(paper.path(f"data/{place}/000/{number}.jpg"))
    shutil.rmtree(paper.path("data/paintings"))
    rows, jobs = told_of(paper, "--configfile", "config.yaml", "5k.yaml")
    gone = {name for name in CONFIG["studies"] if name.startswith("here")} | {"transfer_large"}
    assert rows.keys() == CONFIG["studies"].keys() - gone | {"together"}
    assert rows["placement"] == (4, 4 * 5 * 5000)  # networks; corners and the whole, of so many images
    assert jobs["predict"] == len(
        {strip[:4] for study in rows.keys() & ASKED.keys() for strip in ASKED[study][0]}
    )
    assert not {"train_stage", "stylize_images", "draw_stylized"} & jobs.keys()
