"""Claims of the paper: effects of made-up results of both signs and of none, and what is made of them."""

import csv
import re
import zlib
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest, norm

from conftest import ROOT, SQL
from made_up import (
    CLASSES,
    STYLIZED,
    Results,
    conflict,
    decide,
    learnt,
    measured,
    network,
    probed,
    readout,
    rows,
    student,
    training,
)
from patchwork import foreground, significance, tables
from patchwork.report import claims, page

with open(ROOT / "reports/claims.csv", newline="") as opened:
    WRITTEN = {row["key"]: row for row in csv.DictReader(opened)}
IMAGES, MEASURED, EPISODES = 400, 40, 60
FAMILIES = {"vit": "vit", "cnn": "cnn", "swin": "swin"}
UNTOUCHED = {"vit": 200, "cnn": 210, "swin": 200, "vit_sin": 100, "cnn_sin": 110, "vit_nopos": 300}
UNTOUCHED |= {"vit_patch16": 100, "one_class": 300, "one_shape": 200}
# How many of 400 images each seed is right about where all claims hold: (perturbation, variant, level).
PERTURBED = {
    ("random_drop", "8x8", 0.5): {"vit": 300, "cnn": 200, "swin": 280, "vit_sin": 240, "cnn_sin": 150},
    ("random_drop", "8x8", 0.8): {"vit": 290},
    ("random_drop", "16x16", 0.5): {"vit": 220},
    ("offset_drop", "8x8", 0.5): {"vit": 210, "cnn": 120},
    ("pixel_drop", "plain", 0.1): {"vit": 300, "cnn": 200},
    ("salient_drop", "area", 0.5): {"vit": 150, "cnn": 60},
    ("nonsalient_drop", "area", 0.5): {"vit": 350, "cnn": 260},
    ("feature_drop", "zero_50", 1): {"vit": 250, "cnn": 100},
    ("feature_drop", "zero_50", 5): {"cnn": 300},
    ("placement", "plain", 1): {"vit": 300, "cnn": 100},
    ("placement", "plain", 2): {"vit": 200, "cnn": 150},
    ("shuffle_grid", "plain", 16): {"vit": 300, "cnn": 200, "vit_patch16": 120},
    ("shuffle_grid", "plain", 64): {"vit": 150, "vit_nopos": 260},
    ("corrupt", "fog", 3): {"vit": 300, "cnn": 200, "vit_sin": 180, "cnn_sin": 120},
    ("corrupt", "frost", 3): {"vit": 320, "cnn": 210, "vit_sin": 190, "cnn_sin": 110},
    ("fgsm", "plain", 2): {"vit": 250, "cnn": 150, "vit_sin": 140, "cnn_sin": 70},
    ("pgd", "plain", 2): {"vit": 240, "cnn": 130, "vit_sin": 150, "cnn_sin": 60},
    ("adversarial_patch", None, 0.05): {
        "vit": 260,
        "cnn": 160,
        "vit_sin": 150,
        "cnn_sin": 80,
    },  # each by itself
}
CUT = {("random_drop", "16x16"), ("offset_drop", "8x8"), ("pixel_drop", "plain")}  # ViTs' tokens
TRAININGS = [
    training("vit", "train"),
    training("vit_sin", "sin_train"),
    training("cnn", "train", architecture="c"),
    training("cnn_sin", "sin_train", architecture="c"),
    training("vit_nopos", "train", architecture="n"),
    training("vit_patch16", "train", architecture="p"),
    *student("one", "cnn_sin"),
    *student("two", "vit"),
    training("reader", "texture_train", architecture="r"),
    training("reader_sin", "sin_texture_train", architecture="r"),
]
NETWORKS = [
    *(network(model) for model in ("vit", "vit_sin")),
    *(network(model, "resnet", "c", patch_pixels=None) for model in ("cnn", "cnn_sin")),
    network("vit_nopos", architecture="n", positions=False),
    network("vit_patch16", architecture="p", patch_pixels=16),
    network("random", architecture="u", untrained=True),
]
SIN = [
    {"dataset": "sin_texture_train", "content": "texture_train", "stylizer": "adain"},
    {"dataset": "sin_texture", "content": "texture", "stylizer": "adain"},
]
# Decisions for shape and texture, where all claims hold and where none does.
CUES = {
    1: {"vit": (180, 180), "cnn": (72, 288), "vit_sin": (350, 10), "cnn_sin": (324, 36)}
    | {"one_class": (72, 288), "one_shape": (180, 180), "two_class": (36, 324), "two_shape": (100, 260)},
    -1: {"vit": (36, 324), "cnn": (180, 180), "vit_sin": (10, 350), "cnn_sin": (100, 260)}
    | {"one_class": (324, 36), "one_shape": (216, 144), "two_class": (342, 18), "two_shape": (288, 72)},
}
PERSONS = {"subject-1": (36, 4), "subject-2": (38, 2)}  # 40 images each


# ---- what is expected: from the made-up numbers themselves ----


def z():
    return norm.ppf(0.975)


def of_pairs(one, another):
    """Points of top-1 between two shares of right decisions of each image, by Bonett and Price."""
    apart = np.asarray(one, float) - another
    spread = np.sqrt(((apart**2).sum() + 2) / (len(apart) + 2) - (apart.sum() / (len(apart) + 2)) ** 2)
    middle, margin = apart.sum() / (len(apart) + 2), z() * spread / np.sqrt(len(apart) + 2)
    return 100 * apart.mean(), 100 * (middle - margin), 100 * (middle + margin)


def of_means(one, another=0.0, unit=1):
    apart = np.asarray(one, float) - another
    margin = z() * apart.std(ddof=1) / np.sqrt(len(apart))
    return unit * apart.mean(), unit * (apart.mean() - margin), unit * (apart.mean() + margin)


def wilson(count, whole):
    interval = binomtest(count, whole).proportion_ci(method="wilson")
    return count / whole, interval.low, interval.high


def newcombe(one, another):
    """The interval of the difference of two shares, from (share, low, high) of each."""
    (a, a_low, a_high), (b, b_low, b_high) = one, another
    return a - b, a - b - np.hypot(a - a_low, b_high - b), a - b + np.hypot(a_high - a, b - b_low)


def of_share(count, whole, unit):
    return tuple(unit * each for each in wilson(count, whole))


# ---- the results ----


class World:
    """Results of all that claims ask for, where all hold (sign 1) or none does (-1), and what they show:
    {claim: [(effect, low, high) of each comparison]}."""

    def __init__(self, folder, sign):
        self.results, self.sign, self.expected, self.measures = Results(folder), sign, {}, []
        labels, names, textures = conflict(IMAGES)
        self.labels = labels
        for name in ("conflict", "sin_conflict"):
            self.results.dataset(name, labels, names, textures)
        for name in ("held_out", "sin"):
            self.results.dataset(name, labels, names)
        for name in ("texture", "sin_texture"):
            self.results.dataset(name, labels, np.char.add("texture of ", names), names)
        self.hits = {}
        self.perturb()
        self.compare()
        self.cues()
        self.look_inside()
        self.transfer()

    def show(self, claim, *effects):
        self.expected.setdefault(claim, []).extend(effects)

    def made(self, count, *key):
        """Which images are decided rightly: so many, or all others if claims are not to hold."""
        order = np.random.default_rng(zlib.crc32(repr(key).encode())).permutation(IMAGES)
        return (order < count) == (self.sign > 0)

    def preds(self, right):
        return np.where(right, self.labels, (self.labels + 1) % len(CLASSES))

    def perturb(self):
        whole = {model: self.made(count, model) for model, count in UNTOUCHED.items()}
        strips = {}
        for (perturbation, variant, level), counts in PERTURBED.items():
            for model, count in counts.items():
                right = [self.made(count, model, perturbation, variant, level, seed) for seed in (0, 1)]
                strips.setdefault((model, perturbation, variant or model), {})[level] = right
        moved = whole["vit_nopos"] if self.sign > 0 else ~whole["vit_nopos"]
        strips["vit_nopos", "shuffle_grid", "plain"][4] = [moved, moved]
        for model in UNTOUCHED:
            strips[model, "clean", "plain"] = {}
        for (model, perturbation, variant), levels in strips.items():
            self.results.strip(
                *("held_out", model, self.preds(whole[model]), perturbation),
                {level: [self.preds(right) for right in seeds] for level, seeds in levels.items()},
                variant=variant,
                family=FAMILIES.get(model, "other"),
                whole=1 if perturbation == "shuffle_grid" else 0,
                cut=0.8 * ((perturbation, variant) in CUT),
            )
        self.whole, self.strips = whole, strips

    def shares(self, model, perturbation, variant, *levels):
        """The share of right decisions of each image over seeds and levels."""
        cells = self.strips[model, perturbation, variant or model]
        return np.mean([right for level in levels for right in cells[level]], 0)

    def compare(self):
        same = {
            "patch_drop": ("vit", "cnn", "random_drop", "8x8", 0.5),
            "hierarchical": ("swin", "cnn", "random_drop", "8x8", 0.5),
            "stylized_drop": ("vit_sin", "cnn_sin", "random_drop", "8x8", 0.5),
            "off_grid_cnn": ("vit", "cnn", "offset_drop", "8x8", 0.5),
            "pixel_drop": ("vit", "cnn", "pixel_drop", "plain", 0.1),
            "salient_drop": ("vit", "cnn", "salient_drop", "area", 0.5),
            "nonsalient_drop": ("vit", "cnn", "nonsalient_drop", "area", 0.5),
            "lesion": ("vit", "cnn", "feature_drop", "zero_50", 1),
            "placement": ("vit", "cnn", "placement", "plain", 1, 2),
            "permutation": ("vit", "cnn", "shuffle_grid", "plain", 16),
            "positions_shuffled": ("vit_nopos", "vit", "shuffle_grid", "plain", 64),
            "patch_size_shuffled": ("vit", "vit_patch16", "shuffle_grid", "plain", 16),
            "adversarial_patch": ("vit", "cnn", "adversarial_patch", None, 0.05),
        }
        for claim, (one, another, *where) in same.items():
            self.show(claim, of_pairs(self.shares(one, *where), self.shares(another, *where)))
        twins = [("vit", "vit_sin"), ("cnn", "cnn_sin")]
        for claim, perturbation, variants, level in [
            ("corruption", "corrupt", ["fog", "frost"], 3),
            ("attacks", "fgsm", ["plain"], 2),
            ("attacks", "pgd", ["plain"], 2),
            ("adversarial_patch", "adversarial_patch", [None], 0.05),
        ]:
            for variant in variants:
                for one, another in [*twins, ("vit", "cnn")]:
                    stylized = "_stylized" * (another != "cnn")
                    if stylized or claim != "adversarial_patch":
                        where = perturbation, variant, level
                        effect = of_pairs(self.shares(one, *where), self.shares(another, *where))
                        self.show(claim + stylized, effect)
        drops = [self.shares("vit", "random_drop", grid, 0.5) for grid in ("8x8", "16x16")]
        self.show("grid_factor", of_pairs(*drops))
        self.show("off_grid", of_pairs(drops[0], self.shares("vit", "offset_drop", "8x8", 0.5)))
        for model in ("vit", "cnn"):
            kinds = [self.shares(model, f"{kind}salient_drop", "area", 0.5) for kind in ("non", "")]
            self.show("salient_matters", of_pairs(*kinds))
        stages = [self.shares("cnn", "feature_drop", "zero_50", stage) for stage in (5, 1)]
        self.show("lesion_late", of_pairs(*stages))
        for claim, one, another in [
            *(("stylized_cost", *pair) for pair in twins),
            ("shape_token_cost", "one_class", "one_shape"),
            ("positions_cost", "vit", "vit_nopos"),
            ("patch_size", "vit", "vit_patch16"),
        ]:
            self.show(claim, of_pairs(self.whole[one], self.whole[another]))
        kept = int(self.shares("vit", "random_drop", "8x8", 0.8).sum()), IMAGES
        self.show("patch_drop_80", of_share(*kept, 100))
        self.show("positions_invariant", of_share(0 if self.sign > 0 else IMAGES, IMAGES, 100))

    def cues(self):
        counts, bias = CUES[self.sign], {}
        for model, (shape, texture) in counts.items():
            self.results.strip("conflict", model, decide(shape, texture), family=FAMILIES.get(model, "other"))
            bias[model] = wilson(shape, shape + texture)
        for claim, one, another in [
            ("shape_bias", "vit", "cnn"),
            ("stylized_bias", "vit_sin", "vit"),
            ("stylized_bias", "cnn_sin", "cnn"),
            ("shape_token", "one_shape", "one_class"),
            ("shape_token", "two_shape", "two_class"),
            ("shape_token_teacher", "cnn_sin", "one_shape"),
            ("shape_token_teacher", "vit", "two_shape"),
            ("teacher_passed", "one_shape", "two_shape"),
        ]:
            self.show(claim, newcombe(bias[one], bias[another]))
        shares = [shape / (shape + texture) for shape, texture in PERSONS.values()]
        self.show("people", newcombe(bias["vit_sin"], (np.mean(shares), min(shares), max(shares))))
        for model, after in [("vit", 80), ("cnn", 90)]:
            after = after if self.sign > 0 else 300 - after
            self.results.strip("sin_conflict", model, decide(50, after), family=FAMILIES[model])
            self.show("texture_hidden", of_share(after, IMAGES, len(CLASSES)))
        for model, found in [("vit_sin", 250), ("cnn_sin", 220)]:
            found = found if self.sign > 0 else found - 180
            self.results.strip("sin", model, decide(found, 0), family="other")
            self.show("shape_readable", of_share(found, IMAGES, len(CLASSES)))
        named = 100 if self.sign > 0 else 250
        self.results.strip("texture", "reader", decide(380, 0))
        self.results.strip("sin_texture", "reader_sin", decide(named, 0))
        self.show("texture_unlearnable", of_share(named, IMAGES, len(CLASSES)))

    def noisy(self, mean, *key, deviation=0.03):
        values = np.random.default_rng(zlib.crc32(repr(key).encode())).normal(mean, deviation, MEASURED)
        return values.astype(np.float32)

    def both(self, high, low, *key):
        """Two arrays of values of images, the higher one first if claims are to hold."""
        return [self.noisy(high, *key, "high"), self.noisy(low, *key, "low")][:: self.sign]

    def measure(self, model, name, columns):
        family = FAMILIES.get(model, "other")
        self.measures.append(measured(self.results, "held_out", model, name, columns, family))

    def look_inside(self):
        vit, cnn = self.both(0.8, 0.3, "correlation")
        for model, values in (("vit", vit), ("cnn", cnn)):
            self.measure(model, "information_loss", correlations(values, 0.1))
        self.show("correlation", of_means(vit, cnn))
        self.show("correlation_beyond", of_means(vit, cnn))
        for label in range(len(CLASSES)):
            own = np.arange(MEASURED) % len(CLASSES) == label
            self.show("correlation_groups", newcombe(of_means(vit[own]), of_means(cnn[own])))

        last, first = self.both(0.7, 0.5, "attention")
        untouched = last - self.sign * 0.2 - self.noisy(0, "untouched")
        self.measure("vit", "attention", attended([first, last], [first, untouched]))
        self.show("attention_visible", of_means(last, untouched))
        kept = [of_means(last, first), of_means(last - untouched)]
        self.show("attention_deeper", min(kept))

        cosine = self.noisy(0.5 if self.sign > 0 else 0.95, "cosine", deviation=0.01)
        columns = {"image": np.arange(MEASURED), "block": np.ones(MEASURED), "cosine": cosine}
        self.measure("one_class", "token_similarity", columns)
        self.show("token_cosine", of_means(cosine))

        # Jaccard indices, from the one that is to be the highest down to that of random patches.
        order = ("student_shape", "student_class", "stylized", "natural", "untrained")
        found = dict(zip(order, [self.noisy(0.7 - 0.1 * n, n) for n in range(5)][:: self.sign], strict=True))
        chance = self.noisy(0.1 if self.sign > 0 else 0.9, "chance")
        for model, tokens in {
            "one_class": {"class": "student_class", "shape": "student_shape"},
            "vit_sin": {"class": "stylized"},
            "vit": {"class": "natural"},
            "random": {"class": "untrained"},
        }.items():
            scores = {token: (found[name], chance) for token, name in tokens.items()}
            self.measure(model, "segmentation", segmented(**scores))
        for name in ("student_class", "stylized", "natural"):
            self.show("segmentation_trained", of_means(found[name], found["untrained"]))
        self.show("segmentation_stylized", of_means(found["stylized"], found["natural"]))
        self.show("segmentation_student", of_means(found["student_class"], found["natural"]))
        self.show("segmentation_shape_token", of_means(found["student_shape"], found["student_class"]))
        for name in order[:-1]:
            self.show("segmentation_random", of_means(found[name], chance))

        attends, random = self.both(0.5, 0.2, "foreground")
        table = pa.table([np.arange(MEASURED), np.full(MEASURED, 0.5), attends, random], foreground.SCORES)
        self.foreground = self.results.folder / "foreground/held_out/vit.parquet"
        self.foreground.parent.mkdir(parents=True)
        pq.write_table(table, self.foreground)
        self.show("foreground", of_means(attends, random))

        late, middle = [np.arange(MEASURED) < count for count in (35, 10)][:: self.sign]
        ranks = np.where(np.concatenate([middle, middle, middle, late]), 0, 3)
        columns = {"image": np.tile(np.arange(MEASURED), 4), "block": np.repeat([1, 2, 3, 4], MEASURED)}
        self.measure("vit", "block_accuracy", columns | {"rank": ranks})
        self.show("blocks", of_pairs(late, middle))

    def transfer(self):
        def decided(count, *key):
            return self.made(count, "transfer", *key)

        vit, cnn = decided(300, "vit"), decided(200, "cnn")
        several, every, patches = (decided(370, name) for name in ("last4", "all", "patches"))
        own, batch = decided(300, "own"), decided(150, "batch")
        readouts = [readout("last", "none", vit), readout("last", "last", patches)]
        readouts += [readout("last4", "none", several), readout("all", "none", every)]
        self.measures.append(probed(self.results, "birds", "vit", readouts, "vit"))
        readouts = [readout("last", "none", cnn), readout("last", "none", own, "authors")]
        readouts += [readout("last", "none", batch, "authors, batch statistics")]
        self.measures.append(probed(self.results, "birds", "cnn", readouts, "cnn"))
        self.show("transfer", of_pairs(vit, cnn))
        self.show("transfer_blocks", of_pairs(several, vit), of_pairs(every, vit))
        self.show("transfer_patches", of_pairs(patches, vit))
        self.show("transfer_statistics", of_pairs(own, batch))

        random = np.random.default_rng(0)
        few = [random.normal(mean, 0.05, EPISODES).astype(np.float32) for mean in (0.7, 0.5)][:: self.sign]
        for model, accuracies in zip(("vit", "cnn"), few, strict=True):
            told = {"setting": "5-way 1-shot", "seed": 0, "ways": 5, "supports": 5, "queries": 75}
            told |= {"readout": "last"}
            episodes = [
                told | {"classifier": classifier, "episode": n, "accuracy": accuracy}
                for n, accuracy in enumerate(accuracies)
                for classifier in ("logistic", "centroid")
            ]
            self.measures.append(
                learnt(self.results, "birds", model, "few_shot", episodes, tables.FEW_SHOTS, model)
            )
        self.show("few_shot", of_means(*few, unit=100))

    def build(self):
        self.results.tell_classes("conflict", CLASSES)
        return self.results.build(
            TRAININGS,
            [*STYLIZED, *SIN],
            foregrounds=[self.foreground],
            networks=NETWORKS,
            measures=self.measures,
            decisions={"conflict": [persons(self.results.folder)]},
        )


def persons(folder):
    """A CSV file of what people decided."""
    lines = ["subj,session,trial,rt,object_response,category,condition,imagename"]
    for person, (shape, texture) in PERSONS.items():
        for n in range(shape + texture):
            answer = "circle" if n < shape else "ring"
            lines.append(f"{person},1,{n},1.0,{answer},circle,0,circle{n}-ring1.png")
    Path(folder, "persons.csv").write_text("\n".join(lines) + "\n")
    return Path(folder, "persons.csv")


def correlations(values, other):
    """Columns of information_loss, half of the patches dropped: of images under two seeds, and of others."""
    images = len(values)
    columns = {"kind": ["image"] * 2 * images + ["other"] * 2, "level": [0.5] * (2 * images + 2)}
    columns |= {"seed": [*np.repeat([0, 1], images), 0, 1], "index": [*range(images)] * 2 + [None] * 2}
    columns["value"] = [*np.ravel([values + 0.02, values - 0.02]), other - 0.01, other + 0.01]
    return columns


def attended(occluded, untouched):
    """Columns of attention on visible patches, float [blocks, images] each, of the class token; and a row of
    a head, over images, which tells nothing of them."""
    blocks, images = len(occluded), len(occluded[0])
    length = blocks * images + 1
    columns = {"kind": ["visible"] * length, "token": ["class"] * length, "head": [None] * (length - 1) + [0]}
    columns |= {"block": [*np.repeat(np.arange(1, blocks + 1), images), blocks]}
    columns |= {"image": [*range(images)] * blocks + [None]}
    return columns | {"occluded": [*np.ravel(occluded), 9.0], "untouched": [*np.ravel(untouched), -9.0]}


def segmented(**scores):
    """Columns of segmentation by two heads. scores: {token: (Jaccard index, that of random patches)}."""
    columns = {}
    for token, (jaccard, random) in scores.items():
        for head in (0, 1):  # the second one is worse in all
            row = {
                "image": np.arange(len(jaccard)),
                "class_id": 7,
                "token": token,
                "head": head,
                "level": 0.9,
            }
            row |= {"aspect": "both", "jaccard": 0, "jaccard_void": jaccard - 0.05 * head}
            row |= {"random": 0, "random_void": random - 0.05 * head}
            for name, values in row.items():
                columns.setdefault(name, []).extend(np.broadcast_to(values, len(jaccard)).tolist())
    return columns


@pytest.fixture(scope="module", params=[1, -1], ids=["all hold", "none holds"])
def world(request, tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"), request.param)
    path = made.build()
    made.rows = {row["key"]: row for row in rows(path, "FROM claims")}
    made.comparisons = rows(path, "FROM claim_comparisons")
    made.path = path
    return made


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("empty"))
    results.dataset("held_out", *conflict()[:2])
    results.strip("held_out", "vit", decide(300, 0), family="vit")
    path = results.build()
    return path, {row["key"]: row for row in rows(path, "FROM claims")}


@pytest.mark.parametrize("key", WRITTEN)
def test_every_claim_is_decided_by_its_numbers(world, key):
    row, expected = world.rows[key], world.expected[key]
    comparisons = [each for each in world.comparisons if each["claim"] == key]
    found = [(each["effect"], each["low"], each["high"]) for each in comparisons]
    assert sorted(found) == [pytest.approx(each, abs=2e-6) for each in sorted(expected)]
    assert (row["effect"], row["low"], row["high"]) == pytest.approx(np.mean(expected, 0), abs=2e-6)
    holds = world.sign > 0
    assert row["verdict"] == row["uncorrected"] == ("supported" if holds else "not supported")
    assert (row["comparisons"], row["supporting"]) == (len(expected), len(expected) * holds)
    assert row["measured"] == len(WRITTEN)
    assert {each["verdict"] for each in comparisons} == {row["verdict"]}


@pytest.mark.parametrize("key", WRITTEN)
def test_without_results_nothing_is_measured(empty, key):
    row = empty[1][key]
    assert row["verdict"] == "not measured" and row["comparisons"] == row["supporting"] == 0
    assert row["effect"] is row["low"] is row["high"] is row["p_corrected"] is None


def test_claims_effects_and_figures_agree():
    sql = "".join(text for text in SQL[0] if re.search(r"INSERT INTO (effects|contrasts)", text))
    named = {key for key in WRITTEN if f"'{key}'" in sql}
    assert named == {*WRITTEN} and len(WRITTEN) >= 30
    figures = {path.stem for path in (ROOT / "reports/figures").glob("*.py")}
    for key, row in WRITTEN.items():
        assert row["figure"] in figures, key
        assert row["side"] in ("above", "below") and all(row.values()), key
        assert row["source"] != "ours" or row["published"] == "-", key


def test_an_effect_belongs_to_a_claim(world):
    with duckdb.connect(world.path, read_only=True) as db:
        told = {key for (key,) in db.sql("SELECT DISTINCT claim FROM effects").fetchall()}
    assert told == {*WRITTEN}


# ---- statistics ----


def test_the_probability_of_a_result_is_that_of_the_normal_distribution():
    for deviations in (0, 0.5, 1.959964, -3, 8):
        assert significance.two_sided_p(deviations) == pytest.approx(2 * norm.sf(abs(deviations)))


def test_differences_of_shares_are_newcombes():
    """His own examples: Statistics in Medicine, 1998, table II, method 10."""
    macros = re.findall(r"CREATE MACRO (?:wilson|apart)\w*\(.*?;", "".join(SQL[0]), re.S)
    assert len(macros) == 5
    with duckdb.connect() as db:
        for macro in macros:
            db.execute(macro)
        for (a, m), (b, n), expected in [
            ((56, 70), (48, 80), (0.0524, 0.3339)),
            ((9, 10), (3, 10), (0.1705, 0.8090)),
            ((10, 10), (0, 20), (0.6791, 1.0000)),
        ]:
            ends = "apart_{0}(p, wilson_{0}(p, {1}.0), q, wilson_{2}(q, {3}.0))"
            low, high = (ends.format(*each) for each in (("low", m, "high", n), ("high", m, "low", n)))
            [found] = db.sql(f"SELECT {low}, {high} FROM (SELECT {a} / {m} AS p, {b} / {n} AS q)").fetchall()
            assert found == pytest.approx(expected, abs=5e-5)


def judged(effects):
    """Rows of `claims` for made-up effects: {claim: [(effect, low, high)]}."""
    with duckdb.connect() as db:
        significance.register(db)
        db.execute("SET VARIABLE claims = ?", [[str(ROOT / "reports/claims.csv")]])
        [table] = re.findall(r"CREATE TABLE effects \(.*?\);", "".join(SQL[0]), re.S)
        db.execute(table)
        for claim, rows in effects.items():
            for number, (effect, low, high) in enumerate(rows):
                about = f"model {number}"
                db.execute(
                    "INSERT INTO effects VALUES (?, ?, ?, ?, ?, ?, 'x')", [claim, about, effect, low, high, 9]
                )
        db.execute((ROOT / "reports/marts/9_claims.sql").read_text())
        return {row["key"]: row for row in db.sql("FROM claims").to_arrow_table().to_pylist()}


def holm(probabilities):
    """Holm's step-down procedure as he wrote it: which of them are refused at 5 %."""
    refused, order = set(), sorted(range(len(probabilities)), key=lambda i: probabilities[i])
    for step, i in enumerate(order):
        if probabilities[i] > 0.05 / (len(probabilities) - step):
            break
        refused.add(i)
    return refused


def with_p(p):
    """An effect above 0 that has this probability."""
    deviations = norm.isf(p / 2)
    return [(deviations, deviations - z(), deviations + z())]


def test_verdicts_are_corrected_by_holm():
    keys = ["patch_drop", "pixel_drop", "placement", "lesion"]
    found = judged(dict(zip(keys, map(with_p, (0.01, 0.04, 0.03, 0.005)), strict=True)))
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert [found[key]["p_corrected"] for key in keys] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [found[key]["verdict"] for key in keys] == ["supported", "cannot tell", "cannot tell", "supported"]
    assert {found[key]["uncorrected"] for key in keys} == {"supported"}
    assert {found[key]["measured"] for key in keys} == {4}
    rest = [row for key, row in found.items() if key not in keys]
    assert {row["verdict"] for row in rest} == {"not measured"} and len(rest) == len(WRITTEN) - 4


@pytest.mark.parametrize("seed", range(5))
def test_the_correction_refuses_what_holms_procedure_does(seed):
    probabilities = np.random.default_rng(seed).choice([1e-9, 1e-4, 0.002, 0.01, 0.03, 0.3], len(WRITTEN))
    keys = [key for key, row in WRITTEN.items() if row["side"] == "above" and row["threshold"] == "0"]
    probabilities = probabilities[: len(keys)]
    found = judged(dict(zip(keys, map(with_p, probabilities), strict=True)))
    refused = holm(list(probabilities))
    assert [found[key]["verdict"] == "supported" for key in keys] == [i in refused for i in range(len(keys))]
    assert 0 < len(refused) < len(keys)


def test_several_comparisons_are_summarised_by_means_of_effects_and_of_ends():
    found = judged({"patch_drop": [(5, 3, 7), (1, -3, 5)], "pixel_drop": [(5, 1, 9), (-7, -10, -4)]})
    row = found["patch_drop"]
    assert (row["effect"], row["low"], row["high"]) == (3, 0, 6)
    assert (row["comparisons"], row["supporting"], row["verdict"]) == (2, 1, "cannot tell")
    assert found["pixel_drop"]["verdict"] == "cannot tell" and found["pixel_drop"]["supporting"] == 1


@pytest.mark.parametrize(
    ("key", "ends", "verdict"),
    [
        ("patch_drop", (0.1, 2), "supported"),
        ("patch_drop", (-2, -0.1), "not supported"),
        ("patch_drop", (0, 2), "cannot tell"),
        ("patch_drop", (-np.inf, np.inf), "cannot tell"),  # a single image
        ("patch_drop_80", (60.1, 90), "supported"),
        ("patch_drop_80", (10, 59.9), "not supported"),
        ("patch_drop_80", (50, 70), "cannot tell"),
        ("token_cosine", (0.2, 0.89), "supported"),
        ("token_cosine", (0.91, 0.99), "not supported"),
        ("token_cosine", (0.8, 0.95), "cannot tell"),
    ],
)
def test_an_interval_is_beside_the_threshold_or_cannot_tell(key, ends, verdict):
    middle = np.mean(ends) if np.isfinite(ends).all() else 1.0
    [row] = [row for row in judged({key: [(middle, *ends)]}).values() if row["comparisons"]]
    assert row["verdict"] == row["uncorrected"] == verdict


# ---- what is compared with what ----


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def compared(path, key):
    """{about: row} of the comparisons of a claim."""
    return {row["about"]: row for row in rows(path, f"FROM claim_comparisons WHERE claim = '{key}'")}


def biased(results, trainings, decisions, networks=(), published_as=()):
    """The warehouse of made-up (shape, texture) decisions: {(dataset, model): counts}."""
    for name in sorted({name for name, _ in decisions}):
        results.dataset(name, *conflict())
    for (name, model), counts in decisions.items():
        results.strip(name, model, decide(*counts), family=FAMILIES.get(model, "other"))
    return results.build(trainings, STYLIZED, networks=networks, published_as=[*published_as])


def test_a_network_is_compared_with_itself_trained_on_what_was_stylized(results):
    trainings = [
        training("vit_sin", "sin_train"),
        training("vit", "train"),
        training("other_architecture", "train", architecture="b"),
        training("other_settings", "train", settings="t"),
        training("other_data", "else"),
        training("taught", "train", teacher="vit"),
    ]
    decisions = {("conflict", t["model"]): (80, 280) for t in trainings}
    decisions |= {("conflict", "vit_sin"): (300, 60), ("sin_conflict", "vit_sin"): (80, 280)}
    path = biased(results, trainings, decisions | {("sin_conflict", "vit"): (80, 280)})
    [(about, row)] = compared(path, "stylized_bias").items()
    assert about == "vit_sin against vit on conflict"
    assert row["numbers"] == "0.833 against 0.222; 360 and 360 decided images"


def test_a_network_is_compared_with_itself_as_it_was_given_if_none_was_trained_here(results):
    decisions = {("conflict", model): (80, 280) for model in ("vit", "vit_sin", "cnn")}
    told = [network("vit"), network("vit_sin"), network("cnn", architecture="c")]
    told += [network("swin", untrained=True)]
    path = biased(results, [training("vit_sin", "sin_train")], decisions, told)
    assert [*compared(path, "stylized_bias")] == ["vit_sin against vit on conflict"]


def test_of_the_papers_own_weights_the_names_tell_how_they_were_trained(results):
    named = {"vit": "DeiT-T", "vit_sin": "DeiT-T-SIN", "cnn": "ResNet50", "cnn_sin": "ResNet50-SIN"}
    named |= {"first": "DeiT-T-SIN distilled", "second": "DeiT-T-SIN distilled", "other_sin": "DeiT-S-SIN"}
    heads = {"first": "class", "second": "shape"}
    told = [
        {"kind": "model", "name": name, "published": published, "head": heads.get(name)}
        for name, published in named.items()
    ]
    decisions = {("conflict", name): (80, 280) for name in named}
    path = biased(results, [], decisions, published_as=told)
    assert {*compared(path, "stylized_bias")} == {
        "vit_sin against vit on conflict",
        "cnn_sin against cnn on conflict",
    }
    assert [*compared(path, "shape_token")] == ["second against first on conflict"]
    assert [*compared(path, "shape_token_teacher")] == ["cnn_sin against second on conflict"]


def test_models_that_learnt_from_other_images_are_not_compared(results):
    decisions = {("conflict", model): (80, 280) for model in ("vit", "cnn")}
    path = biased(results, [training("vit", "train"), training("cnn", "others")], decisions)
    assert compared(path, "shape_bias") == {}


def test_teachers_that_are_alike_tell_nothing_of_what_is_passed_on(results):
    trainings = [*student("one", "cnn"), *student("two", "cnn_sin")]
    trainings += [training("cnn", "train"), training("cnn_sin", "sin_train")]
    decisions = {("conflict", "two_shape"): (250, 110), ("conflict", "one_shape"): (100, 260)}
    decisions |= {("conflict", "cnn_sin"): (185, 175), ("conflict", "cnn"): (180, 180)}
    assert compared(biased(results, trainings, decisions), "teacher_passed") == {}


@pytest.mark.parametrize(
    ("after", "verdict"), [(90, "supported"), (250, "not supported"), (145, "cannot tell")]
)
def test_texture_is_hidden_from_those_that_went_by_it(results, after, verdict):
    trainings = [training("vit", "train"), training("vit_sin", "sin_train"), training("never", "train")]
    decisions = {("conflict", "vit"): (60, 300), ("sin_conflict", "vit"): (100, after)}
    decisions |= {("conflict", "vit_sin"): (60, 300), ("sin_conflict", "vit_sin"): (100, after)}
    decisions |= {("conflict", "never"): (100, 90), ("sin_conflict", "never"): (100, 90)}
    [(about, row)] = compared(biased(results, trainings, decisions), "texture_hidden").items()
    assert (about, row["verdict"]) == ("vit on sin_conflict", verdict)
    assert row["numbers"] == f"{after / 4:.1f} %, 75.0 % before it was stylized, chance is 25.0 %"


def inside(results, **measures):
    """The warehouse of measures of models: {model: {measure: columns}}."""
    results.dataset("conflict", *conflict())
    results.strip("conflict", "vit", decide(300, 60), family="vit")
    asked = [
        measured(results, "conflict", model, name, columns, FAMILIES.get(model, "other"))
        for model, found in measures.items()
        for name, columns in found.items()
    ]
    return results.build(measures=asked)


def test_features_that_are_alike_whatever_is_seen_are_told_apart(results):
    values = np.random.default_rng(0).normal(0.5, 0.05, MEASURED)
    vit, cnn = correlations(values + 0.2, 0.6), correlations(values + np.tile([0.01, -0.01], 20), 0.1)
    path = inside(results, vit={"information_loss": vit}, cnn={"information_loss": cnn})
    [alike], [beyond] = (compared(path, key).values() for key in ("correlation", "correlation_beyond"))
    assert (alike["verdict"], beyond["verdict"]) == ("supported", "not supported")
    assert beyond["effect"] == pytest.approx(0.2 - 0.5)


def test_a_block_that_looks_there_anyway_does_not_attend_to_what_is_left(results):
    base = np.random.default_rng(0).normal(0.4, 0.05, MEASURED)
    occluded = [base, base + 0.2]
    path = inside(results, vit={"attention": attended(occluded, occluded)})
    for key in ("attention_visible", "attention_deeper"):
        [row] = compared(path, key).values()
        assert row["verdict"] == "cannot tell" and row["effect"] == pytest.approx(0, abs=1e-7)


def test_a_single_image_tells_nothing(results):
    path = inside(results, vit={"attention": attended([[0.2], [0.9]], [[0.2], [0.2]])})
    for key in ("attention_visible", "attention_deeper"):
        [row] = compared(path, key).values()
        assert row["verdict"] == "cannot tell" and row["high"] == np.inf


# ---- on the page ----


def test_claims_stand_on_the_page_in_words(world):
    told = rows(world.path, "FROM claims")
    shown = claims.claims(told, world.comparisons, {"occlusion"})
    assert shown.count("<tr id=") == len(WRITTEN)
    verdict = "supported" if world.sign > 0 else "not supported"
    ours = sum(row["source"] == "ours" for row in WRITTEN.values())
    assert (
        f"Claims of the paper: {len(WRITTEN) - ours}, of which" in shown and f"{ours} more are ours" in shown
    )
    [row] = re.findall(r'<tr id="claim-patch_drop" .*?</tr>', shown)
    effect, low, high = (f"{world.rows['patch_drop'][name]:.1f}" for name in ("effect", "low", "high"))
    assert f"<td>{verdict}</td>" in row and f"{effect} ({low} to {high})" in row
    assert '<a href="#occlusion">' in row and "figure 3" in row and "1 comparison</summary>" in row
    [row] = re.findall(r'<tr id="claim-few_shot" .*?</tr>', shown)
    assert "<a " not in row  # its chart is not on the page


def test_claims_are_the_first_section(empty):
    template = (ROOT / "reports/page.html").read_text()
    text = page.page(template, empty[0], [], [], [], [], {}, {"seeds": [0]})
    assert text.index('id="claims"') < text.index('id="models"')
    assert text.count("<td>not measured</td>") == len(WRITTEN)


def test_a_claim_that_was_not_measured_tells_what_would_and_names_are_escaped(empty):
    empty = empty[1]
    about = {"claim": "patch_drop", "about": "<vit> against cnn", "effect": 5.0, "low": 1.0, "high": 9.0}
    about |= {"sampled": 1000, "numbers": "<1>", "verdict": "supported"}
    row = empty["patch_drop"] | {"comparisons": 1, "supporting": 1, "effect": 5.0, "low": 1.0, "high": 9.0}
    row |= {"sampled_least": 300, "sampled_most": 1000, "uncorrected": "supported", "verdict": "cannot tell"}
    shown = claims.claims([row | {"measured": 7}, empty["few_shot"]], [about], set())
    assert "&lt;vit&gt; against cnn: 5.0 (1.0 to 9.0), supported · &lt;1&gt;; 1,000" in shown
    assert "300 to 1,000" in shown and "not after correction for 7 claims" in shown
    assert "It takes few_shots, of models of the families vit and cnn." in shown
    assert "1 cannot tell, 1 not measured" in shown
