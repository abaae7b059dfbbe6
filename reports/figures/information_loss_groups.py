"""Information loss by class: whose features survive when half of the patches are dropped?

From left to right, the correlation of the features of the whole image and of the image without half of its
patches, over the dimensions of the features (as `per image` in the figure before). A row is a class; of
datasets whose classes are synsets of WordNet, as those of ImageNet are, a superclass of the paper's figure
5: the mean over its classes of the mean of each. A colour and a shape are a model, a panel a dataset. Bars
are 95 % intervals over the images of each class; there is none where a class has one image alone.

For datasets with the classes of ImageNet, pale ticks are what can be read off figure 5 of the paper, to
0.01 or so.
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
            low AS correlation_low, high AS correlation_high, classes, images, seeds, 'this run' AS source
        FROM features_left_by_group
        WHERE level = 0.5
        UNION ALL
        SELECT
            v.dataset, p.model || ' (published)', 1000, regexp_extract(condition, 'superclass=(\\w+)', 1),
            p.value::DOUBLE, NULL, NULL, NULL, NULL, NULL, 'figure 5 of the paper'
        FROM published AS p
        JOIN vocabularies AS v ON of_imagenet
        SEMI JOIN features_left_by_group AS g ON g.dataset = v.dataset
        WHERE experiment = 'feature_correlation_superclass'
    )
SELECT dataset AS panel, *
FROM measured
ORDER BY dataset, class_group, place, model
"""


def chart(cells):
    own = cells.filter(cells["images"].is_valid())
    base = alt.Chart(cells).encode(y=alt.Y("class_group:N", title=None, axis=alt.Axis(labelLimit=220)))
    measured = base.transform_filter("isValid(datum.images)").encode(color=theme.colour(own))
    title = "correlation, half of the patches dropped"
    x = alt.X("correlation:Q", title=title, scale=alt.Scale(zero=True, domainMax=1))
    tooltip = [
        alt.Tooltip("class_group:N", title="group"),
        alt.Tooltip("model:N"),
        alt.Tooltip("correlation:Q", title="mean correlation", format=".3f"),
        alt.Tooltip("correlation_low:Q", title="95 % from", format=".3f"),
        alt.Tooltip("correlation_high:Q", title="to", format=".3f"),
        alt.Tooltip("classes:Q"),
        alt.Tooltip("images:Q", format=","),
        alt.Tooltip("source:N"),
    ]
    layers = [
        base.transform_filter("!isValid(datum.images)")
        .mark_tick(color=theme.PALE, thickness=2, height=14)
        .encode(x=x, tooltip=tooltip),
        measured.mark_rule(style="interval").encode(
            x=alt.X("correlation_low:Q", title=title), x2="correlation_high:Q"
        ),
        measured.mark_point(opacity=1).encode(x=x, shape=theme.shape(own), tooltip=tooltip),
    ]
    rows = own.to_pylist()
    panels = list(dict.fromkeys(cells["panel"].to_pylist()))
    images = {(row["panel"], row["class_group"]): row["images"] for row in rows}
    told = [
        f"{name}: {sum(n for (panel, _), n in images.items() if panel == name):,} images" for name in panels
    ]
    chart = theme.rows(alt.layer(*layers), cells, "Whose features are left", told)
    return chart.resolve_scale(y="independent")
