"""Shape bias by category: where does a network go by the shape, where by the texture?

A row is a class of shapes, a mark an observer: from left to right, the share of its decisions for the shape
among those for shape or texture, on images whose texture stands for another class (Geirhos et al. 2019).
The vertical lines are the means of each observer over its classes, so that every class counts alike; the
shape bias over all images stands in the figure above. Rows are ordered by the humans where there are some,
else by the reference model. Colours and forms are those of the models in every figure; humans are grey. A
click on an observer in the legend lets it stand out.

The table and the tooltips give 95 % Wilson intervals over images; those of humans, where the decisions of
each are known, and those of the means are bootstrap intervals, over persons for humans and over the images
of each class for others. The published humans are ten persons who were asked what they see (neutral
instruction); one of them, subject-10, is who the paper calls "Humans" in its figure 6.
"""

import altair as alt

from patchwork import theme

ORDER = 60.5
FAMILY = "clean"
SQL = """
SELECT
    b.dataset AS panel, b.dataset, observer AS model, b.kind, place, b.class_name, row_place,
    shape_bias, low, high, decided, images, class_mean, class_mean_low, class_mean_high
FROM observed_bias_by_class AS b
JOIN class_means USING (dataset, observer, kind)
JOIN category_order USING (dataset, class_name)
ANTI JOIN stylized USING (dataset)
WHERE
    b.class_name IS NOT NULL AND decided > 0
    AND (b.kind <> 'person' OR dataset IN (FROM compared_with_published))
ORDER BY b.dataset, row_place, place, observer
"""


def chart(cells):
    chosen = alt.selection_point(fields=["model"], bind="legend")
    title = "share of shape decisions"
    share = [alt.Scale(domain=[0, 1]), alt.Axis(format="%", tickCount=5)]
    base = alt.Chart(cells).encode(color=theme.colour(cells))
    tooltip = [
        alt.Tooltip("model:N", title="observer"),
        alt.Tooltip("class_name:N", title="shape"),
        alt.Tooltip("shape_bias:Q", title=title, format=".1%"),
        alt.Tooltip("low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("decided:Q", title="decided images", format=","),
        alt.Tooltip("class_mean:Q", title="mean over classes", format=".1%"),
        alt.Tooltip("class_mean_low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("class_mean_high:Q", title="to", format=".1%"),
    ]
    rows = alt.Y(
        "class_name:N",
        sort=alt.EncodingSortField("row_place", op="min"),
        title=None,
        axis=alt.Axis(labelLimit=160, labelPadding=9),
    )
    layers = [
        # The first of the layers with a colour makes the legend, so it is not a pale one.
        base.mark_point(opacity=1, size=60)
        .encode(
            x=alt.X("shape_bias:Q", title=title, scale=share[0], axis=share[1]),
            y=rows,
            shape=theme.shape(cells),
            opacity=theme.faded(chosen, 1, 0.12),
            tooltip=tooltip,
        )
        .add_params(chosen),
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("mean(class_mean):Q", title=title), opacity=theme.faded(chosen, 0.8, 0.05)
        ),
        alt.Chart(cells).mark_rule(style="chance").encode(x=alt.datum(0.5)),
    ]
    chart = theme.rows(alt.layer(*layers), cells, "Shape bias by category", seen(cells))
    return chart.resolve_scale(y="independent")


def seen(cells):
    """How many images each class has at the most: ['cue_conflict: up to 75 images of each shape']."""
    lines = {}
    for dataset, images in zip(cells["dataset"].to_pylist(), cells["images"].to_pylist(), strict=True):
        lines[dataset] = max(images, lines.get(dataset, 0))
    return [f"{dataset}: up to {images:,} images of each shape" for dataset, images in lines.items()]
