"""Off-the-shelf features: what is learnt from a few images of each class.

An episode draws some classes and, of each, a few images to learn from and others to decide; all models see
the same episodes. To the right, the share of right decisions, as a mean over episodes. A row is a readout and
a classifier. Read is the class token of the last block, or of the last four side by side (of a network
without class token what its head sees, and the means over places of its stages), normalised to length 1; the
classifier is logistic regression, or takes the class with the nearest mean. A colour is a model, a panel a
dataset and a setting: so many classes (ways), and images of each to learn from (shots), or, where these are
variable, as Meta-Dataset draws them, but without its hierarchies of classes. The dashed line is chance.

Bars are 95 % intervals of the mean over the episodes of all seeds (normal approximation), as is usual in the
field. Episodes share images, so the bars tell how exact a mean is for these images, not what others of the
same classes would give. Differences to the reference model, episode by episode, stand in the table.

Figure 16 (right) of the paper shows episodes of Meta-Dataset, decided by a linear classifier.
"""

import altair as alt

from patchwork import theme

ORDER = 75
FAMILY = "few_shot"
SQL = """
SELECT
    dataset || ' · ' || if(setting = 'variable', 'variable ways and shots', setting) AS panel,
    dataset, model, place, readout_in_words || ' · ' || classifier_in_words AS row,
    accuracy, low, high, chance, difference, difference_low, difference_high, ways, supports, episodes, seeds
FROM few_shot_scores
ORDER BY dataset, setting, readout, classifier DESC, place
"""


def chart(cells):
    rows = list(dict.fromkeys(cells["row"].to_pylist()))
    base = alt.Chart(cells).encode(
        y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=260)),
        yOffset="model:N",
        color=theme.colour(cells),
    )
    chosen = theme.choice()
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(x="mean(chance):Q"),
        theme.interval(base, chosen, channel=alt.X, title="accuracy"),
        theme.points(base.encode(x=theme.share("accuracy", "accuracy", alt.X)), cells, chosen),
    ]
    return theme.rows(alt.layer(*layers), cells, "Learning from a few images", sampled(cells))


def sampled(cells):
    """What was sampled, a line for each dataset: episodes are the same for all models and rows."""
    told = {row["dataset"]: (row["episodes"], row["seeds"]) for row in cells.to_pylist()}
    return [
        f"{dataset}: {episodes:,} episodes of each setting, {seeds} seed{'s'[: seeds != 1]}"
        for dataset, (episodes, seeds) in told.items()
    ]
