"""Classifiers that learn from a few images, by frozen features: are they right about other images?

Source: "Off-the-shelf tokens" in section 3 of the paper (figure 16, right), whose classifiers learn from the
support of every episode as in RFS (Tian et al., ECCV 2020, "Rethinking few-shot image classification: a good
embedding is all you need?"). Features are those of the last block, which the network's own head sees, or of
the last four blocks or stages side by side. Those of each block are normalised to length 1, and all of them
together once more, so that every block weighs the same.

`logistic`: multinomial logistic regression as in RFS, that is scikit-learn's LogisticRegression with C = 1,
the minimum of

    sum of cross-entropies over the support + 1/2 * sum of squared weights (not of the biases).

`centroid`: the class whose mean of normalised features is the nearest (by Euclidean distance), as in
prototypical networks (Snell et al., NeurIPS 2017), and as L2N in SimpleShot (Wang et al., 2019).

Both need products of features alone, and the weights of that minimum are sums of features of the support. So
many episodes are decided at once, in no more dimensions than they have images in the support.
"""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import normalize, one_hot
from torch.nn.utils.rnn import pad_sequence

from patchwork import episodes, files, jobs, protocols, readouts, tables

CLASSIFIERS = ["logistic", "centroid"]
BATCH_VALUES = 1 << 22  # features, and products of them, of the episodes that are decided at once
TOLERANCE = 1e-6  # the largest derivative that counts as 0
ABSENT = -1e9  # the score of a class that an episode does not have but others beside it do
JITTER = 1e-10  # so that equal images have a Cholesky factor, too


def few_shot(name, entry, tokens, data, seeds, path):
    """Write a table of tables.FEW_SHOTS: the accuracy of each classifier, on each readout, in each episode.

    name, entry: of the config. tokens: tokens.Tokens of a model. data: the packed.Packed that they are of.
    seeds: of episodes. Where the model has no tokens to read, the table is empty and its metadata tell why.
    Raises ValueError if no episodes can be made of the dataset.
    """
    counts = Counter(data.classes[label] for label in data.labels)
    if problem := protocols.episode_problem(counts, entry):
        raise ValueError(f"few_shots.{name}: {problem}")
    read = {} if tokens.refused else readouts.of_episodes(tokens)
    settings = [(setting, seed) for setting in protocols.settings(entry) for seed in seeds]
    parts = [tables.FEW_SHOTS.empty_table()]
    for setting, seed in jobs.progress(settings, unit="setting", desc=name):
        drawn = episodes.sample(name, entry, setting, seed, data.paths, data.labels)
        for readout, places in read.items():
            for classifier, accuracy in zip(CLASSIFIERS, accuracies(drawn, tokens, places), strict=True):
                told = {"readout": readout, "classifier": classifier, "setting": setting, "seed": seed}
                columns = {key: [value] * len(drawn) for key, value in told.items()} | {
                    "episode": range(len(drawn)),
                    "ways": [episode.ways for episode in drawn],
                    "supports": [len(episode.support) for episode in drawn],
                    "queries": [len(episode.queries) for episode in drawn],
                    "accuracy": accuracy.tolist(),
                }
                parts.append(pa.table(columns, tables.FEW_SHOTS))
    rows = pa.concat_tables(parts).replace_schema_metadata({"refused": tokens.refused or ""})
    with files.whole(path) as temporary:
        pq.write_table(rows, temporary, compression="zstd")


def features(tokens, places, rows):
    """Normalised features of some images: float64 [rows, width], each of length 1. rows: int64 [rows]."""
    parts = [torch.from_numpy(tokens.features([place], rows.numpy())) for place in places]
    return torch.cat([normalize(part.double()) for part in parts], 1) / len(parts) ** 0.5


def accuracies(drawn, tokens, places):
    """The share of the queries of each of the Episodes that each of CLASSIFIERS decides rightly: float64
    [classifiers, episodes]."""
    width = sum(tokens.parts[place]["width"] for place in places)
    found = torch.zeros(len(CLASSIFIERS), len(drawn), dtype=torch.float64)
    for batch in batches(drawn, width):
        some = [drawn[number] for number in batch]
        support, queries = (
            features(tokens, places, rows.flatten()).unflatten(0, rows.shape)
            for rows in (padded([e.support for e in some], 0), padded([e.queries for e in some], 0))
        )
        labels = padded([e.query_classes for e in some], -1)
        scores = decide(support, padded([e.support_classes for e in some], -1), queries)
        right = torch.stack([each.argmax(2) == labels for each in scores])
        found[:, batch] = right.sum(2) / (labels >= 0).sum(1).double()
    return found


def batches(drawn, width):
    """The numbers of Episodes that are decided at once, those of like sizes together: a list of lists."""
    order = sorted(range(len(drawn)), key=lambda number: (len(drawn[number].support), drawn[number].ways))
    images = max(len(episode.support) + len(episode.queries) for episode in drawn)
    size = max(1, BATCH_VALUES // (images * (width + images)))
    return [order[first : first + size] for first in range(0, len(order), size)]


def padded(arrays, value):
    """Arrays as rows of one tensor, int64 [arrays, longest], filled up by a value."""
    return pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True, padding_value=value)


def decide(support, classes, queries):
    """Scores of the classes by each of CLASSIFIERS, float64 [E, Q, K] each; the highest one decides.

    support: float64 [E, S, width]. classes: of these, int64 [E, S] in [0, K); -1 where there is no image.
    queries: float64 [E, Q, width].
    """
    member = one_hot(classes + 1)[..., 1:].double()  # [E, S, K]
    real = member.sum(2, keepdim=True)
    # Neither classifier minds another origin; with this one, biases have next to no part in the weights.
    centre = (support * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
    support, queries = (support - centre) * real, queries - centre
    gram, cross = support @ support.mT, queries @ support.mT
    absent = ABSENT * (member.sum(1, keepdim=True) == 0)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype)
    wide = support.shape[2] > len(identity)  # then the support has fewer coordinates in its span
    coordinates = torch.linalg.cholesky(gram + JITTER * identity) if wide else support
    return [each + absent for each in (logistic(coordinates, cross, member), centroid(gram, cross, member))]


def logistic(coordinates, cross, member):
    """Scores by multinomial logistic regression, float64 [E, Q, K], up to those of classes that are absent.

    coordinates: of the support, in any basis, float64 [E, S, dimensions]. cross: products of queries with the
    support, float64 [E, Q, S]. member: 1 where an image is of a class, float64 [E, S, K].

    L-BFGS sees all episodes as one function, the sum of theirs, in units in which this bends as much in every
    direction where all classes are equally probable: features of length 1 do not lead far from there, so that
    few steps are needed. In its minimum the weights are the sum of the support's features, each times what
    its probabilities lack to be right.
    """
    episodes, images, dimensions = coordinates.shape
    real, absent = member.sum(2, keepdim=True), ABSENT * (member.sum(1, keepdim=True) == 0)
    ways, identity = (absent == 0).sum(2, keepdim=True), torch.eye(dimensions, dtype=cross.dtype)
    bend = torch.linalg.cholesky(coordinates.mT @ coordinates / ways + identity)
    units = torch.linalg.solve_triangular(bend.mT, identity, upper=True)
    scale = (ways / real.sum(1, keepdim=True)).sqrt()  # of a bias, which a share of the images bends
    both = torch.cat([coordinates @ units, units], 1)
    weights = torch.zeros(episodes, dimensions, member.shape[2], dtype=cross.dtype)
    bias = torch.zeros(episodes, 1, member.shape[2], dtype=cross.dtype)
    fit = torch.optim.LBFGS(
        [weights.requires_grad_(), bias.requires_grad_()],
        max_iter=1000,
        tolerance_grad=TOLERANCE,
        tolerance_change=0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def logits_and_weights():
        logits, primal = (both @ weights).split([images, dimensions], 1)
        return logits + scale * bias + absent, primal

    def loss():
        fit.zero_grad()
        scores, primal = logits_and_weights()
        entropies = (scores.logsumexp(2, keepdim=True) - scores) * member
        total = entropies.sum() + primal.square().sum() / 2
        total.backward()
        return total

    fit.step(loss)
    with torch.no_grad():
        return cross @ (member - logits_and_weights()[0].softmax(2) * real) + scale * bias


def centroid(gram, cross, member):
    """Scores by the nearest mean, float64 [E, Q, K]: minus the squared distances but for what all classes
    share. gram: products of the support with itself, float64 [E, S, S]; others as of `logistic`."""
    shares = member / member.sum(1, keepdim=True).clamp(min=1)
    return 2 * cross @ shares - (gram @ shares * shares).sum(1, keepdim=True)
