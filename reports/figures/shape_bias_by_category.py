"""Shape bias by category: where does a network go by the shape, where by the texture?

A row is a class of shapes, a mark an observer: from left to right, the share of its decisions for the shape
among those for shape or texture, on images whose texture stands for another class (Geirhos et al. 2019).
The vertical lines are the means of each observer over its classes, so that every class counts alike; the
shape bias over all images stands in the figure above. Rows are ordered by the humans where there are some,
else by the reference model. Colours and forms are those of the models in every figure; humans are grey. A
click on an observer in the legend lets it stand out.

The table and the tooltips give 95 % Wilson intervals over images; those of humans, where the decisions of
each are known, and those of the means are bootstrap intervals, over persons for humans and over the images of
each class for others. The published humans are ten persons who were asked what they see (neutral
instruction); one of them, subject-10, is who the paper calls "Humans" in its figure 6. Hollow marks are what
the paper tells of a model, where the config says that the two are the same.
"""

import altair as alt

from patchwork import theme

ORDER = 60.5
FAMILY = "clean"
SQL = """
SELECT
    b.dataset AS panel, b.dataset, observer AS model, b.kind, place, b.class_name, row_place,
    shape_bias, low, high, published, decided, images, class_mean, class_mean_low, class_mean_high
FROM observed_bias_by_class AS b
JOIN class_means USING (dataset, observer, kind)
JOIN category_order USING (dataset, class_name)
LEFT JOIN (
    SELECT dataset, model AS observer, part AS class_name, 'model' AS kind, published
    FROM published_here
    WHERE experiment = 'shape_bias_per_category'
) USING (dataset, observer, class_name, kind)
ANTI JOIN stylized USING (dataset)
WHERE
    b.class_name IS NOT NULL AND decided > 0
    AND (b.kind <> 'person' OR dataset IN (FROM compared_with_published))
ORDER BY b.dataset, row_place, place, observer
"""


def chart(cells):
    chosen, title = theme.choice(), "share of shape decisions"
    base = alt.Chart(cells).encode(color=theme.colour(cells))
    rows = alt.Y(
        "class_name:N",
        sort=alt.EncodingSortField("row_place", op="min"),
        title=None,
        axis=alt.Axis(labelLimit=160, labelPadding=9),
    )
    layers = [
        # The first of the layers with a colour makes the legend, so it is not a pale one.
        theme.points(base.encode(x=theme.share("shape_bias", title, alt.X), y=rows), cells, chosen, size=60),
        *theme.published(base.encode(y=rows), cells, chosen, channel=alt.X),
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
