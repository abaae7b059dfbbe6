"""Classifiers that learn from a few images, against scikit-learn and numpy by hand."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from patchwork import episodes, few_shot, readouts, tables, warehouse
from patchwork.tokens import Tokens
from test_warehouse import Study, learnt

FIXED = {"data": "birds", "ways": 5, "shots": [1, 5], "queries": 15, "episodes": 120}
VARIABLE = {"data": "birds", "ways": "variable", "episodes": 40}
CLASSES, IMAGES = 12, 360


class Data:
    """What a packed index tells."""

    def __init__(self, images=IMAGES, classes=CLASSES):
        self.labels, self.classes = np.arange(images) % classes, [f"class{n}" for n in range(classes)]
        self.paths = [f"{self.classes[label]}/{n}.png" for n, label in enumerate(self.labels)]


def stored(folder, depth=5, width=16, noise=1.5, refused=None, images=IMAGES, classes=CLASSES):
    """Tokens of a network with a class token, alike in images of a class; their mean is far from 0."""
    random = np.random.default_rng(0)
    names = [(block, token) for block in range(1, depth + 1) for token in ("class", "patch")]
    parts = [
        {"block": block, "token": token, "first": n * width, "width": width}
        for n, (block, token) in enumerate(names)
    ]
    centres = random.normal(1, 1, (classes, len(parts) * width))
    values = centres[np.arange(images) % classes] + noise * random.normal(size=(images, len(parts) * width))
    facts = {"parts": parts, "depth": depth, "decides": len(parts) - 2, "digest": "", "refused": refused}
    if refused:
        facts, values = facts | {"parts": [], "decides": None, "depth": 0}, values[:, :0]
    np.save(folder / "vit.npy", values.astype(np.float16))
    (folder / "vit.json").write_text(json.dumps(facts))
    return Tokens(folder / "vit.npy")


def normalised(tokens, places, rows):
    """Features by numpy: each block of length 1, and all of them side by side."""
    parts = [tokens.features([place], rows).astype(np.float64) for place in places]
    features = np.concatenate([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts], 1)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def by_hand(episode, read):
    """The scores of scikit-learn and, as distances, of nearest means: {classifier: float [queries, ways]}."""
    support, queries = read(episode.support), read(episode.queries)
    fitted = LogisticRegression(tol=1e-10, max_iter=10_000).fit(support, episode.support_classes)
    means = np.stack([support[episode.support_classes == c].mean(0) for c in range(episode.ways)])
    return {
        "logistic": fitted.decision_function(queries),
        "centroid": -np.linalg.norm(queries[:, None] - means, axis=2),
    }


@pytest.mark.parametrize("readout", ["last", "last4"])
@pytest.mark.parametrize(
    ("entry", "setting"), [(FIXED, "5-way 1-shot"), (FIXED, "5-way 5-shot"), (VARIABLE, "variable")]
)
def test_decisions_are_those_of_scikit_learn_and_of_the_nearest_mean(tmp_path, entry, setting, readout):
    tokens, data = stored(tmp_path), Data()
    places = readouts.of_episodes(tokens)[readout]
    drawn = episodes.sample("birds", entry, setting, 0, data.paths, data.labels)
    found = few_shot.accuracies(drawn, tokens, places)
    for number, episode in enumerate(drawn):
        scores = by_hand(episode, lambda rows: normalised(tokens, places, rows))
        for classifier, accuracy in zip(few_shot.CLASSIFIERS, found[:, number].tolist(), strict=True):
            right = scores[classifier].argmax(1) == episode.query_classes
            best = np.sort(scores[classifier], 1)
            ties = (best[:, -1] - best[:, -2] < 1e-5).sum()
            assert abs(round(accuracy * len(right)) - right.sum()) <= ties
    assert 1 / 5 < found.mean() < 1 and found.std() > 0


def test_scores_are_those_of_scikit_learn_for_episodes_of_unlike_sizes_at_once():
    random = np.random.default_rng(0)
    support = torch.nn.functional.normalize(torch.from_numpy(random.normal(0.5, 1, (2, 12, 40))), dim=2)
    queries = torch.nn.functional.normalize(torch.from_numpy(random.normal(0.5, 1, (2, 9, 40))), dim=2)
    classes = torch.tensor([[0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 1], [2, 0, 0, 0, 0, 1, 1, *[-1] * 5]])
    scores, _ = few_shot.decide(support, classes, queries)
    for found, xs, ys, asked in zip(scores, support, classes, queries, strict=True):
        real = ys >= 0
        fitted = LogisticRegression(tol=1e-10, max_iter=10_000).fit(xs[real].numpy(), ys[real].numpy())
        expected = fitted.decision_function(asked.numpy())
        own = found[:, : expected.shape[1]].numpy()
        own, expected = (each - each.mean(1, keepdims=True) for each in (own, expected))
        assert own == pytest.approx(expected, abs=1e-5)
        assert (found[:, expected.shape[1] :] < -1e8).all()


def test_equal_images_in_a_support_can_be_learnt_from():
    support, queries = torch.ones(1, 4, 3) / 3**0.5, torch.eye(3)[None]
    scores = few_shot.decide(support.double(), torch.tensor([[0, 0, 1, 1]]), queries.double())
    for each in scores:  # what is alike in both classes tells neither from the other
        assert (each[..., 0] - each[..., 1]).tolist() == [pytest.approx([0, 0, 0], abs=1e-6)]


def test_readouts_are_the_last_block_and_the_last_four(tmp_path):
    tokens = stored(tmp_path)
    assert readouts.of_episodes(tokens) == {"last": [8], "last4": [2, 4, 6, 8]}
    assert readouts.of_episodes(stored(tmp_path, depth=3)) == {"last": [4], "last4": [0, 2, 4]}
    assert readouts.of_episodes(stored(tmp_path, depth=1)) == {"last": [0]}


def test_features_have_a_length_of_1_and_every_block_weighs_the_same(tmp_path):
    tokens, rows = stored(tmp_path), np.array([3, 0, 3, 359])
    found = few_shot.features(tokens, [2, 4, 6, 8], torch.from_numpy(rows)).numpy()
    assert found == pytest.approx(normalised(tokens, [2, 4, 6, 8], rows), abs=1e-12)
    assert np.linalg.norm(found.reshape(4, 4, 16), axis=2) == pytest.approx(np.full((4, 4), 0.5))


def test_batches_decide_every_episode_as_it_is_decided_alone(tmp_path, monkeypatch):
    tokens, data = stored(tmp_path), Data()
    drawn = episodes.sample("birds", VARIABLE, "variable", 0, data.paths, data.labels)
    together = few_shot.accuracies(drawn, tokens, [8])
    assert len(few_shot.batches(drawn, 16)) < len(drawn)
    monkeypatch.setattr(few_shot, "BATCH_VALUES", 1)
    assert len(few_shot.batches(drawn, 16)) == len(drawn)
    assert torch.equal(few_shot.accuracies(drawn, tokens, [8]), together)


def test_the_table_has_a_row_for_each_episode_readout_and_classifier(tmp_path):
    entry = FIXED | {"episodes": 3}
    few_shot.few_shot("birds", entry, stored(tmp_path), Data(), [0, 4], tmp_path / "a/few_shot.parquet")
    rows = pq.read_table(tmp_path / "a/few_shot.parquet")
    assert rows.schema.equals(tables.FEW_SHOTS) and rows.schema.metadata[b"refused"] == b""
    keys = rows.select(["readout", "classifier", "setting", "seed", "episode"]).to_pylist()
    assert len(keys) == len({tuple(key.values()) for key in keys}) == 2 * 2 * 2 * 2 * 3
    sizes = rows.select(["setting", "ways", "supports", "queries"]).to_pylist()
    assert {tuple(size.values()) for size in sizes} == {
        ("5-way 1-shot", 5, 5, 75),
        ("5-way 5-shot", 5, 25, 75),
    }
    drawn = episodes.sample("birds", entry, "5-way 5-shot", 4, Data().paths, Data().labels)
    expected = few_shot.accuracies(drawn, Tokens(tmp_path / "vit.npy"), [8])[1]
    wanted = ("last", "centroid", "5-way 5-shot", 4)
    found = [row["accuracy"] for row in rows.to_pylist() if tuple(row.values())[:4] == wanted]
    assert found == pytest.approx(expected.tolist())


def test_more_to_learn_from_is_better_and_noise_tells_nothing(tmp_path):
    def means(noise):
        table, tokens = tmp_path / "table.parquet", stored(tmp_path, noise=noise)
        few_shot.few_shot("birds", FIXED, tokens, Data(), [0], table)
        rows = pq.read_table(table).group_by(["setting", "classifier", "readout"])
        return {
            (row["setting"], row["classifier"], row["readout"]): row["accuracy_mean"]
            for row in rows.aggregate([("accuracy", "mean")]).to_pylist()
        }

    signal, noise = means(1.5), means(1000)
    for classifier in few_shot.CLASSIFIERS:
        for readout in ("last", "last4"):
            one, five = (signal[f"5-way {n}-shot", classifier, readout] for n in (1, 5))
            assert 0.3 < one < five
    assert list(noise.values()) == pytest.approx([0.2] * 8, abs=0.02)


def test_of_a_model_without_tokens_the_table_is_empty_and_tells_why(tmp_path):
    tokens = stored(tmp_path, refused="timm tells no stages of Net")
    few_shot.few_shot("birds", FIXED, tokens, Data(), [0], tmp_path / "table.parquet")
    rows = pq.read_table(tmp_path / "table.parquet")
    assert len(rows) == 0 and rows.schema.metadata[b"refused"] == b"timm tells no stages of Net"


def test_a_dataset_of_too_few_images_is_told(tmp_path):
    with pytest.raises(
        ValueError, match=r"few_shots\.birds: birds has 30 images of the class class0.*`queries` to 25"
    ):
        few_shot.few_shot("birds", FIXED | {"queries": 26}, stored(tmp_path), Data(), [0], tmp_path / "table")


# ---- what the report makes of it ----


def told(study, model, means, ways=(5, 5)):
    """What a config asks for, with episodes of two seeds: float [seeds, episodes] each of two classifiers."""
    rows = [
        {"readout": "last", "classifier": classifier, "setting": "variable", "seed": seed, "episode": episode}
        | {"ways": ways[episode % 2], "supports": 9, "queries": 50, "accuracy": accuracy}
        for classifier, seeds in means.items()
        for seed, accuracies in enumerate(seeds)
        for episode, accuracy in enumerate(accuracies)
    ]
    return learnt(study, "few_shot", tables.FEW_SHOTS, rows, model)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Accuracies, {model: {classifier: float [seeds, episodes]}}, and their mart; `cnn` is the reference."""
    random, study = np.random.default_rng(0), Study(tmp_path_factory.mktemp("study"))
    shared = random.uniform(0.3, 0.7, (2, 30))  # some episodes are harder than others
    made = {
        model: {name: shared + more + random.normal(0, 0.02, (2, 30)) for name in few_shot.CLASSIFIERS}
        for model, more in [("vit", 0.1), ("cnn", 0)]
    }
    path = study.build(measures=[told(study, model, means, (5, 20)) for model, means in made.items()])
    rows = warehouse.query(path, "FROM few_shot_scores").to_pylist()
    return made, {(row["model"], row["classifier"]): row for row in rows}


def test_means_and_intervals_are_over_the_episodes_of_all_seeds(scored):
    made, found = scored
    assert len(found) == 4
    for (model, classifier), row in found.items():
        values = made[model][classifier].ravel()
        margin = norm.ppf(0.975) * values.std(ddof=1) / np.sqrt(60)
        assert row["accuracy"] == pytest.approx(values.mean(), abs=1e-6)
        assert (row["low"], row["high"]) == pytest.approx(
            (values.mean() - margin, values.mean() + margin), abs=1e-6
        )
        assert (row["episodes"], row["seeds"], row["ways"]) == (60, 2, 12.5)
        assert row["chance"] == pytest.approx((1 / 5 + 1 / 20) / 2)


def test_models_are_compared_episode_by_episode(scored):
    made, found = scored
    for classifier in few_shot.CLASSIFIERS:
        apart = (made["vit"][classifier] - made["cnn"][classifier]).ravel()
        margin = norm.ppf(0.975) * apart.std(ddof=1) / np.sqrt(60)
        row = found["vit", classifier]
        ends = row["difference_low"], row["difference"], row["difference_high"]
        expected = apart.mean() - margin, apart.mean(), apart.mean() + margin
        assert ends == pytest.approx(expected, abs=1e-6)
        assert ends[2] - ends[0] < (row["high"] - row["low"]) / 2
        assert found["cnn", classifier]["difference"] is None


def test_without_the_reference_nothing_is_compared(tmp_path):
    study = Study(tmp_path)
    path = study.build(measures=[told(study, "vit", {"centroid": [[0.5, 0.7]]})])
    [row] = warehouse.query(path, "FROM few_shot_scores").to_pylist()
    assert row["accuracy"] == pytest.approx(0.6) and row["difference"] is None
    assert row["difference_low"] is None and row["difference_high"] is None
