"""Information loss: how much of the features that a network decides by is left when patches are dropped?

From left to right, the share of patches that are blacked out at random; upwards, how alike the features of
the whole image and of what is left of it are: 1 is the same, 0 has nothing in common. The features are
those before the head, the class token of a transformer, the pooled features of a CNN. A colour is a model,
a row of panels a dataset.

Per image: the correlation of the two vectors of an image, over their dimensions; mean over images, as in
table 1 of the paper. Upright bars are its 95 % interval over images, the band is one standard deviation
over images to either side. Other images: the mean correlation with the features of all other images; a
network whose features are alike whatever it sees has much of it, so only what the first is above this has
been seen in the image. Per dimension: the correlation of a dimension over the images; mean, and
standard deviation over dimensions. What all images share raises the first, and not the second. Linear CKA:
how alike the set of images looks in both, however the features are turned or scaled; the band is the
standard deviation over seeds. With few images for many dimensions CKA is too high, and networks of different
width cannot be compared by it; the debiased one has not that fault (the unbiased estimator of HSIC of Song et
al., 2012).

For datasets with the classes of ImageNet, pale lines are the numbers that the paper tells of its models
(all 50,000 validation images); dashed, in its own colour, those of a model which the config says to be the
paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 65
FAMILY = "information_loss"
SQL = """
WITH
    measured AS (
        SELECT
            dataset, kind, model, place, level, correlation,
            low AS correlation_low, high AS correlation_high, deviation AS correlation_deviation,
            published AS published_number, constant, images, seeds, 'this run' AS source
        FROM features_left
        LEFT JOIN (
            SELECT dataset, model, 'image' AS kind, level, published
            FROM published_here
            WHERE experiment = 'feature_correlation'
        ) USING (dataset, model, kind, level)
        UNION ALL
        SELECT
            v.dataset, 'image', p.model || ' (published)', 1000,
            regexp_extract(p.condition, 'drop=(\\d+)%', 1)::DOUBLE / 100,
            max(p.value::DOUBLE) FILTER (metric = 'pearson_mean'),
            NULL, NULL,
            max(p.value::DOUBLE) FILTER (metric = 'pearson_std'),
            NULL, NULL, NULL, NULL, 'table 1 of the paper'
        FROM published AS p
        JOIN vocabularies AS v ON of_imagenet
        SEMI JOIN features_left ON features_left.dataset = v.dataset
        ANTI JOIN published_here AS h
            ON h.dataset = v.dataset AND h.network = p.model AND h.experiment = p.experiment
        WHERE experiment = 'feature_correlation'
        GROUP BY v.dataset, p.model, p.condition
    )
SELECT
    dataset || ' · ' || CASE kind
        WHEN 'image' THEN 'per image' WHEN 'other' THEN 'other images' WHEN 'dimension' THEN 'per dimension'
        WHEN 'cka' THEN 'linear CKA' ELSE 'debiased CKA'
    END AS panel,
    * EXCLUDE (kind)
FROM measured
ORDER BY dataset, list_position(['image', 'other', 'dimension', 'cka', 'debiased'], kind), place, model, level
"""
COLUMNS = 3


def chart(cells):
    own, chosen = cells.filter(cells["images"].is_valid()), theme.choice()
    x = alt.X(
        "level:Q",
        title="share of patches dropped",
        scale=alt.Scale(domain=[0.2, 0.8]),
        axis=alt.Axis(format="%", values=[0.25, 0.5, 0.75]),
    )
    y = alt.Y("correlation:Q", title="correlation", scale=alt.Scale(zero=True, domainMax=1))
    base = alt.Chart(cells).encode(x=x)
    measured = base.transform_filter("isValid(datum.images)").encode(color=theme.colour(own))
    band = measured.transform_calculate(
        below="datum.correlation - datum.correlation_deviation",
        above="datum.correlation + datum.correlation_deviation",
    )
    layers = [
        theme.line(measured.encode(y=y), chosen),
        band.transform_filter("isValid(datum.correlation_deviation)")
        .mark_area(style="spread", clip=True)
        .encode(y="below:Q", y2="above:Q", opacity=theme.faded(chosen, 0.12, 0.03)),
        *theme.others(base.encode(y=y), cells, "datum.level == 0.75", align="right", dx=-6, dy=6),
        *theme.published(measured, cells, chosen, "published_number"),
        theme.interval(measured, chosen, "correlation_low", "correlation_high"),
        theme.points(measured.encode(y=y), own, chosen),
    ]
    names = list(dict.fromkeys(cells["panel"].to_pylist()))
    return (
        alt.layer(*layers)
        .properties(width=theme.WIDTH * theme.PANEL_COLUMNS // COLUMNS, height=theme.HEIGHT)
        .facet(**theme.facets(names, COLUMNS))
        .resolve_axis(x="independent")
        .properties(title=alt.Title("What is left of the features", subtitle=theme.sampled(own)))
    )
