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
(all 50,000 validation images).
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
            constant, images, seeds, 'this run' AS source
        FROM features_left
        UNION ALL
        SELECT
            v.dataset, 'image', p.model || ' (published)', 1000,
            regexp_extract(p.condition, 'drop=(\\d+)%', 1)::DOUBLE / 100,
            max(p.value::DOUBLE) FILTER (metric = 'pearson_mean'),
            NULL, NULL,
            max(p.value::DOUBLE) FILTER (metric = 'pearson_std'),
            NULL, NULL, NULL, 'table 1 of the paper'
        FROM published AS p
        JOIN vocabularies AS v ON of_imagenet
        SEMI JOIN features_left ON features_left.dataset = v.dataset
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
    own = cells.filter(cells["images"].is_valid())
    chosen = alt.selection_point(fields=["model"], bind="legend")
    ours, base = "isValid(datum.images)", alt.Chart(cells)
    x = alt.X(
        "level:Q",
        title="share of patches dropped",
        scale=alt.Scale(domain=[0.2, 0.8]),
        axis=alt.Axis(format="%", values=[0.25, 0.5, 0.75]),
    )
    y = alt.Y("correlation:Q", title="correlation", scale=alt.Scale(zero=True, domainMax=1))
    published = base.transform_filter("!isValid(datum.images)").encode(x=x, y=y, detail="model:N")
    measured = base.transform_filter(ours).encode(x=x, color=theme.colour(own))
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("level:Q", title="dropped", format=".0%"),
        alt.Tooltip("correlation:Q", title="mean correlation", format=".3f"),
        alt.Tooltip("correlation_low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("correlation_high:Q", title="to", format=".3f"),
        alt.Tooltip("correlation_deviation:Q", title="standard deviation", format=".3f"),
        alt.Tooltip("constant:Q", title="without a correlation"),
        alt.Tooltip("images:Q", format=","),
        alt.Tooltip("source:N"),
    ]
    band = measured.transform_calculate(
        below="datum.correlation - datum.correlation_deviation",
        above="datum.correlation + datum.correlation_deviation",
    )
    name = alt.Text("model:N")
    layers = [
        measured.mark_line().encode(y=y, opacity=theme.faded(chosen, 1, 0.12)),
        band.transform_filter("isValid(datum.correlation_deviation)")
        .mark_area(style="spread", clip=True)
        .encode(y="below:Q", y2="above:Q", opacity=theme.faded(chosen, 0.12, 0.03)),
        published.mark_line(color=theme.PALE, opacity=0.6),
        published.mark_point(color=theme.PALE, opacity=0.6).encode(tooltip=tooltip),
        published.transform_filter("datum.level == 0.75")
        .mark_text(color=theme.PALE, fontSize=9, align="right", dx=-6, dy=6)
        .encode(text=name),
        measured.mark_rule(style="interval").encode(
            y="correlation_low:Q", y2="correlation_high:Q", opacity=theme.faded(chosen, 0.6, 0.05)
        ),
        measured.mark_point(opacity=1)
        .encode(y=y, shape=theme.shape(own), opacity=theme.faded(chosen, 1, 0.12), tooltip=tooltip)
        .add_params(chosen),
    ]
    names = list(dict.fromkeys(cells["panel"].to_pylist()))
    return (
        alt.layer(*layers)
        .properties(width=theme.WIDTH * theme.PANEL_COLUMNS // COLUMNS, height=theme.HEIGHT)
        .facet(**theme.facets(names, COLUMNS))
        .resolve_axis(x="independent")
        .properties(title=alt.Title("What is left of the features", subtitle=theme.sampled(own)))
    )
