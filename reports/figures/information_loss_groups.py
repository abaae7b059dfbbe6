"""Information loss by class: whose features survive when half of the patches are dropped?

From left to right, the correlation of the features of the whole image and of the image without half of its
patches, over the dimensions of the features (as `per image` in the figure before). A row is a class; of
datasets whose classes are synsets of WordNet, as those of ImageNet are, a superclass of the paper's figure
5: the mean over its classes of the mean of each. A colour and a shape are a model, a panel a dataset. Bars
are 95 % intervals over the images of each class; there is none where a class has one image alone.

For datasets with the classes of ImageNet, pale ticks are what can be read off figure 5 of the paper, to
0.01 or so; hollow marks are those of a model which the config says to be the paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 66
FAMILY = "information_loss"
SQL = """
WITH
    measured AS (
        SELECT
            dataset, model, place, class_group, correlation,
            low AS correlation_low, high AS correlation_high, published AS published_number,
            classes, images, seeds, 'this run' AS source
        FROM features_left_by_group
        LEFT JOIN (
            SELECT dataset, model, part AS class_group, level, published
            FROM published_here
            WHERE experiment = 'feature_correlation_superclass'
        ) USING (dataset, model, class_group, level)
        WHERE level = 0.5
        UNION ALL
        SELECT
            v.dataset, p.model || ' (published)', 1000, regexp_extract(condition, 'superclass=(\\w+)', 1),
            p.value::DOUBLE, NULL, NULL, NULL, NULL, NULL, NULL, 'figure 5 of the paper'
        FROM published AS p
        JOIN vocabularies AS v ON of_imagenet
        SEMI JOIN features_left_by_group AS g ON g.dataset = v.dataset
        ANTI JOIN published_here AS h
            ON h.dataset = v.dataset AND h.network = p.model AND h.experiment = p.experiment
        WHERE experiment = 'feature_correlation_superclass'
    )
SELECT dataset AS panel, *
FROM measured
ORDER BY dataset, class_group, place, model
"""


def chart(cells):
    own, chosen = cells.filter(cells["images"].is_valid()), theme.choice()
    base = alt.Chart(cells).encode(y=alt.Y("class_group:N", title=None, axis=alt.Axis(labelLimit=220)))
    measured = base.transform_filter("isValid(datum.images)").encode(color=theme.colour(own))
    title = "correlation, half of the patches dropped"
    x = alt.X("correlation:Q", title=title, scale=alt.Scale(zero=True, domainMax=1))
    ticks = base.transform_filter("!isValid(datum.images)").mark_tick(
        color=theme.PALE, thickness=2, height=14
    )
    layers = [
        theme.told(ticks.encode(x=x), cells),
        *theme.published(measured, cells, chosen, "published_number", alt.X),
        theme.interval(measured, chosen, "correlation_low", "correlation_high", alt.X, title),
        theme.points(measured.encode(x=x), own, chosen),
    ]
    rows = own.to_pylist()
    panels = list(dict.fromkeys(cells["panel"].to_pylist()))
    images = {(row["panel"], row["class_group"]): row["images"] for row in rows}
    told = [
        f"{name}: {sum(n for (panel, _), n in images.items() if panel == name):,} images" for name in panels
    ]
    chart = theme.rows(alt.layer(*layers), cells, "Whose features are left", told)
    return chart.resolve_scale(y="independent")
