"""What measures of tokens, attention and features show, image by image: findings of made-up measures."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import COLUMNS
from test_findings import STYLIZED, Results, conflict, decide, rows, training

IMAGES = 50


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path)


def measured(folder, model, measure, columns):
    """What a config asks for, with a file of the columns; those that are not given are null."""
    images = len(next(iter(columns.values())))
    fields = {name: pa.type_for_alias(kind) for name, kind in COLUMNS[measure].items()}
    arrays = [pa.array(columns.get(name, [None] * images), kind) for name, kind in fields.items()]
    file = folder / f"measures/conflict/{model}/{measure}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(arrays, pa.schema(fields)), file)
    return {"dataset": "conflict", "model": model, "measure": measure, "model_family": "net", "file": file}


def segmented(folder, model, **scores):
    """`scores`: {token: (Jaccard index, that of random patches), float [images]}, of the mean of heads."""
    columns = {name: [] for name in COLUMNS["segmentation"]}
    for token, (jaccard, random) in scores.items():
        for head in (-1, 0):  # the head alone is of another opinion
            turned = jaccard if head else 1 - jaccard
            row = {"image": range(IMAGES), "class_id": 7, "token": token, "head": head, "level": 0.9}
            row |= {"aspect": "both", "jaccard": turned, "jaccard_void": turned}
            row |= {"random": random, "random_void": random}
            for name, values in row.items():
                columns[name] += [*np.broadcast_to(values, IMAGES).tolist()]
    return measured(folder, model, "segmentation", columns)


def attended(folder, occluded, untouched):
    """Shares of attention on visible patches, float [blocks, images] each, of the class token of `vit`."""
    blocks = len(occluded)
    columns = {"kind": ["visible"] * blocks * IMAGES, "token": ["class"] * blocks * IMAGES}
    columns |= {"block": np.repeat(np.arange(1, blocks + 1), IMAGES), "image": np.tile(range(IMAGES), blocks)}
    columns |= {"occluded": np.ravel(occluded), "untouched": np.ravel(untouched)}
    return measured(folder, "vit", "attention", columns)


def found(results, measures, trainings=()):
    """{(claim, about): (verdict, numbers)} of the findings."""
    results.dataset("conflict", *conflict())
    results.strip("conflict", "vit", decide(300, 60))
    path = results.build(trainings, STYLIZED, measures=measures, columns=COLUMNS)
    return {
        (row["claim"], row["about"]): (row["verdict"], row["numbers"]) for row in rows(path, "FROM findings")
    }


def interval(numbers):
    """The first interval that is told."""
    return tuple(map(float, numbers.split("(")[1].split(")")[0].split(" to ")))


def noisy(seed=0, deviation=0.05):
    """Values with a mean of exactly 0."""
    values = np.random.default_rng(seed).normal(0, deviation, IMAGES)
    return values - values.mean()


def margin(values):
    return 1.959964 * values.std(ddof=1) / np.sqrt(IMAGES)


APART = [(0.1, "yes"), (-0.1, "no"), (0.0, "cannot tell")]


@pytest.mark.parametrize(("apart", "verdict"), APART)
def test_segmentation_is_compared_image_by_image(results, apart, verdict):
    noise, base = noisy(), 0.4 + noisy(1, 0.1)  # images differ more than what is compared
    measures = [
        segmented(results.folder, "vit", **{"class": (base, base - apart - noise)}),
        segmented(
            results.folder,
            "vit_sin",
            **{"class": (base + apart + noise, base), "shape": (base + 2 * apart + 2 * noise, base)},
        ),
    ]
    told = found(results, measures, [training("vit", "train"), training("vit_sin", "sin_train")])
    for claim, about, scores in [
        (
            "Attention segments objects better than as many random patches",
            "vit, class token, on conflict",
            (0.4, 0.4 - apart),
        ),
        (
            "The shape token segments objects better than the class token",
            "vit_sin on conflict",
            (0.4 + 2 * apart, 0.4 + apart),
        ),
        (
            "Training on stylized images makes attention segment objects better",
            "vit_sin against vit on conflict",
            (0.4 + apart, 0.4),
        ),
    ]:
        decided, numbers = told[claim, about]
        assert decided == verdict
        assert numbers.startswith(f"Jaccard index {scores[0]:.2f} against {scores[1]:.2f}, difference ")
        assert interval(numbers) == pytest.approx((apart - margin(noise), apart + margin(noise)), abs=0.006)
    assert (
        sum("segment" in claim for claim, _ in told) == 3 + 2
    )  # both tokens of vit_sin against random patches


def correlations(folder, model, values, other=0.1):
    """Correlations of images with half of the patches dropped, and that with other images."""
    seeds = [values + 0.02, values - 0.02]  # only average
    columns = {"kind": ["image"] * 2 * IMAGES + ["other"] * 2, "level": [0.5] * (2 * IMAGES + 2)}
    columns |= {"seed": [*np.repeat([0, 1], IMAGES), 0, 1], "index": [*range(IMAGES)] * 2 + [None] * 2}
    columns["value"] = [*np.ravel(seeds), other - 0.01, other + 0.01]
    return measured(folder, model, "information_loss", columns)


def test_features_that_are_alike_whatever_is_seen_do_not_stay_alike(results):
    values = 0.5 + noisy()
    told = found(
        results,
        [correlations(results.folder, "vit", values), correlations(results.folder, "cnn", values + 0.2, 0.6)],
    )
    [(verdict, numbers)] = told.values()
    assert verdict == "no" and "with other images 0.60 and 0.10" in numbers


@pytest.mark.parametrize(("apart", "verdict"), APART)
def test_features_are_compared_image_by_image_over_seeds(results, apart, verdict):
    noise, base = noisy(), 0.5 + noisy(1, 0.1)

    told = found(
        results,
        [
            correlations(results.folder, "vit", base),
            correlations(results.folder, "cnn", base + apart + noise),
        ],
    )
    claim = "With half of the patches dropped, features stay more alike than those of the reference"
    decided, numbers = told[claim, "cnn against vit on conflict"]
    assert decided == verdict and numbers.startswith(f"correlation {0.5 + apart:.2f} against 0.50")
    assert interval(numbers) == pytest.approx((apart - margin(noise), apart + margin(noise)), abs=0.006)
    assert "50 images" in numbers


@pytest.mark.parametrize(("apart", "verdict"), APART)
def test_the_last_block_is_compared_with_untouched_images_and_with_the_first(results, apart, verdict):
    noise, base = noisy(), 0.4 + noisy(1, 0.1)
    occluded, untouched = [base, base, base + apart + noise], [base, base, base]
    told = found(results, [attended(results.folder, occluded, untouched)])
    looked = told["The last block attends to what is left of an image", "class token of vit on conflict"]
    assert looked[0] == verdict
    assert looked[1].startswith(f"{0.4 + apart:.2f} of its attention on visible patches, 0.40 on the same")
    deeper = told[
        "The last block attends more to what is left than the first", "class token of vit on conflict"
    ]
    assert deeper[0] == verdict
    for _, numbers in (looked, deeper):
        assert interval(numbers) == pytest.approx((apart - margin(noise), apart + margin(noise)), abs=0.006)


def test_a_block_that_looks_there_anyway_does_not_attend_to_what_is_left(results):
    base = 0.4 + noisy(1, 0.1)
    occluded = [base, base + 0.2 + noisy()]
    told = found(results, [attended(results.folder, occluded, occluded)])
    assert {verdict for verdict, _ in told.values()} == {"cannot tell"}


def test_a_single_image_tells_nothing(results, monkeypatch):
    monkeypatch.setattr("test_findings_inside.IMAGES", 1)
    told = found(results, [attended(results.folder, [[0.2], [0.9]], [[0.2], [0.2]])])
    assert {verdict for verdict, _ in told.values()} == {"cannot tell"}


def test_without_measures_nothing_is_found_of_them(results):
    assert found(results, []) == {}
