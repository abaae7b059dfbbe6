"""Shape bias: does a network go by the shape or by the texture, where the two disagree?

From left to right, the share of decisions for the class of the shape among those for the class of the shape
or of the texture (Geirhos et al., ICLR 2019): a network at the left goes by texture, at the right by shape;
at the dashed line it goes as often by one as by the other. A row is a model, a panel a dataset in which
shape and texture disagree. Colour tells the images that it was trained on, the form of the mark its head; a
distilled network has a class token and a shape token, which learns from a teacher, whose own shape bias is
the grey bar in the same row. Bars are 95 % Wilson intervals over the images that were decided for shape or
texture; how many these are stands in the table.

The grey line across the rows is the shape bias of humans, its band the 95 % bootstrap interval over persons:
those whose decisions were read, or, on the 16 categories of Geirhos et al., the ten of their neutral
instruction. The table and the tooltip also give the mean over classes, with a bootstrap interval over the
images of each class. Networks marked (decisions) were read from files, too, and may have seen more images. A
hollow mark is what the paper tells of a model, where the config says that the two are the same.
"""

import altair as alt

from patchwork import theme

ORDER = 60
FAMILY = "clean"
SQL = """
SELECT
    s.dataset AS panel, s.dataset, s.observer AS model, s.place,
    coalesce(own.trained_on, 'not trained here') AS trained_on,
    CASE
        WHEN own.head IS NULL THEN 'one head' WHEN own.head = 'mean' THEN 'mean of heads'
        ELSE own.head || ' head'
    END AS head,
    s.shape_bias, s.low, s.high, published, s.decided, s.images,
    s.class_mean, s.class_mean_low, s.class_mean_high,
    own.teacher, t.shape_bias AS teacher_bias,
    people.observer AS people, people.shape_bias AS human_bias,
    people.low AS human_low, people.high AS human_high
FROM observed_bias AS s
LEFT JOIN shape_bias AS own ON s.kind = 'model' AND own.model = s.observer AND own.dataset = s.dataset
LEFT JOIN shape_bias AS t ON t.model = own.teacher AND t.dataset = s.dataset
LEFT JOIN (
    SELECT dataset, model, arg_max(published, confidence) AS published
    FROM published_here
    WHERE metric = 'shape_bias' AND part IS NULL
    GROUP BY ALL
) AS p ON p.dataset = s.dataset AND p.model = s.observer AND s.kind = 'model'
LEFT JOIN observed_bias AS people ON people.dataset = s.dataset AND people.kind = 'people'
WHERE s.kind IN ('model', 'network') AND s.decided > 0 AND s.dataset NOT IN (SELECT dataset FROM stylized)
ORDER BY s.dataset, s.place
"""
HEADS = ["one head", "class head", "shape head", "mean of heads"]


def chart(cells):
    trained_on = sorted(set(cells["trained_on"].to_pylist()))
    rows = list(dict.fromkeys(cells.sort_by("place")["model"].to_pylist()))
    y = alt.Y("model:N", sort=rows, title=None, axis=alt.Axis(labelLimit=220))
    chosen, title = theme.choice("trained_on"), "shape bias"
    heads = [head for head in HEADS if head in set(cells["head"].to_pylist())]
    shapes = [theme.SHAPES[HEADS.index(head)] for head in heads]
    base = alt.Chart(cells).encode(
        y=y, color=alt.Color("trained_on:N", scale=alt.Scale(domain=trained_on, range=theme.COLOURS))
    )
    points = base.mark_point(opacity=1, size=70).encode(
        x=theme.share("shape_bias", title, alt.X),
        shape=alt.Shape(
            "head:N",
            scale=alt.Scale(domain=heads, range=shapes),
            legend=alt.Legend(symbolFillColor=theme.PALE, symbolStrokeColor=theme.PALE),
        ),
        opacity=theme.faded(chosen, 1, 0.12),
    )
    humans = alt.Chart(cells).transform_filter("isValid(datum.human_bias)")
    told = [
        alt.Tooltip("people:N", title="observers"),
        alt.Tooltip("mean(human_bias):Q", title="shape bias", format=".1%"),
        alt.Tooltip("mean(human_low):Q", title="95 % from", format=".1%"),
        alt.Tooltip("mean(human_high):Q", title="to", format=".1%"),
    ]
    line = alt.X("mean(human_bias):Q", title=title)
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(x=alt.datum(0.5)),
        humans.mark_rect(color=theme.HUMAN, opacity=0.2).encode(
            x=alt.X("mean(human_low):Q", title=title), x2="mean(human_high):Q"
        ),
        humans.mark_rule(color=theme.HUMAN, strokeWidth=2).encode(x=line, tooltip=told),
        humans.mark_text(color=theme.HUMAN, align="right", baseline="top", dx=-10, text="humans").encode(
            x=line, y=alt.value(2)
        ),
        base.transform_filter("isValid(datum.teacher_bias)")
        .mark_tick(thickness=3, height=16, color=theme.PALE)
        .encode(x="teacher_bias:Q", color=alt.value(theme.PALE)),
        *theme.published(base, cells, chosen, channel=alt.X),
        theme.interval(base, chosen, channel=alt.X, title=title),
        theme.told(points, cells).add_params(chosen),
    ]
    return theme.rows(alt.layer(*layers), cells, "Shape bias where shape and texture disagree")
