"""What holds for the parts of any dataset, and a split by hand."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchwork.splits import split

FRACTIONS = [{"validation": 0.2}, {"test": 0.3}, {"test": 0.3, "validation": 0.2}, {"a": 0.05, "b": 0.9}]
datasets = st.lists(st.integers(3, 40), min_size=1, max_size=6).map(
    lambda counts: [(f"c{n}/{i}.png", f"c{n}") for n, count in enumerate(counts) for i in range(count)]
)


def parts(images, name, fractions):
    """The paths that each part has: {part: set}."""
    paths, labels = zip(*images, strict=True)
    rows = split(paths, labels, name, fractions)
    return {part: {paths[row] for row in chosen} for part, chosen in rows.items()}


@given(datasets, st.sampled_from(FRACTIONS), st.randoms(use_true_random=False))
def test_parts_are_disjoint_whole_and_the_same_in_any_order(images, fractions, random):
    found = parts(images, "birds", fractions)
    assert list(found) == ["train", *fractions]
    assert sum(map(len, found.values())) == len(images)
    assert set().union(*found.values()) == {path for path, _ in images}
    random.shuffle(images)
    assert parts(images, "birds", fractions) == found


@given(datasets, st.sampled_from(FRACTIONS))
def test_each_class_has_its_share_in_each_part(images, fractions):
    found = parts(images, "birds", fractions)
    for label in {label for _, label in images}:
        own = {path for path, of in images if of == label}
        assert all(own & paths for paths in found.values())
        for part, share in fractions.items():
            exact, least_left = share * len(own), len(own) - len(fractions)
            assert abs(len(own & found[part]) - np.clip(exact, 1, least_left)) <= 0.5 + (len(own) < 12)


@given(datasets, st.sampled_from(FRACTIONS), st.integers(3, 9))
def test_other_classes_change_nothing(images, fractions, count):
    found = parts(images, "birds", fractions)
    more = parts([(f"b/{i}.png", "b") for i in range(count)] + images, "birds", fractions)
    assert all(found[part] == {path for path in more[part] if path[0] == "c"} for part in found)


def test_rows_ascend_and_hang_on_the_name_of_the_transfer():
    paths, labels = [f"{i}.png" for i in range(200)], ["a"] * 200
    birds, fish = (split(paths, labels, name, {"validation": 0.25}) for name in ("birds", "fish"))
    assert all((np.diff(rows) > 0).all() for rows in birds.values())
    assert len(birds["validation"]) == len(fish["validation"]) == 50
    assert set(birds["validation"]) != set(fish["validation"])
    assert 12 < (birds["validation"] < 100).sum() < 38  # drawn from everywhere


def test_those_of_the_lowest_hashes_are_kept_back():
    paths = [f"{i}.png" for i in range(10)]

    def hashed(path):
        digest = hashlib.blake2b(f"0\0birds\0{path}\0split".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)

    expected = sorted(sorted(paths, key=hashed)[:3])
    assert [paths[row] for row in split(paths, ["a"] * 10, "birds", {"test": 0.3})["test"]] == expected


def test_a_class_with_too_few_images_is_named():
    labels = ["wren"] * 2 + ["owl"] * 9
    paths = [f"{i}.png" for i in range(11)]
    assert {0, 1} & set(split(paths, labels, "birds", {"test": 0.1})["test"].tolist())
    with pytest.raises(ValueError, match=r"birds: class 'wren' has 2 images.*train, test, validation"):
        split(paths, labels, "birds", {"test": 0.1, "validation": 0.1})
