"""How the trainings went: loss and accuracy, epoch by epoch.

From left to right, the epochs of a run; a line is a run, in the colour of its model. Upwards, in the panels
of loss, the mean loss over the epoch, on augmented images while the weights change; each recipe has a loss
of its own, so losses of different recipes cannot be compared. In the panels of accuracy, the percentage of
held-out images whose class is ranked first after the epoch; a distilled network has a panel for each of its
heads. Held-out images took no part in the training, and nothing was chosen by them. A click on a run in the
legend lets it stand out.
"""

import altair as alt

from patchwork import theme

ORDER = 5
FAMILY = "training"
SQL = """
WITH
    runs AS (
        SELECT run, any_value(recipe) AS recipe, any_value(data) AS trained_on, min(place) AS place
        FROM trainings
        JOIN places USING (model)
        GROUP BY run
    ),
    told AS (
        UNPIVOT (
            SELECT
                run, epoch, held_out_images AS images, loss,
                100 * held_out_top1 AS class, 100 * held_out_shape_top1 AS shape
            FROM epochs
        )
        ON loss, class, shape INTO NAME measure VALUE value
    )
SELECT
    CASE measure
        WHEN 'loss' THEN concat_ws(' · ', 'loss', recipe)
        WHEN 'class' THEN 'held-out top-1, %'
        ELSE 'held-out top-1 of the shape head, %'
    END AS panel,
    run AS model, trained_on, place, epoch, value, images
FROM told
JOIN runs USING (run)
ORDER BY list_position(['class', 'shape', 'loss'], measure), panel, place, epoch
"""


def chart(cells):
    chosen = theme.choice()
    x = alt.X(
        "epoch:Q",
        title="epoch",
        scale=alt.Scale(zero=False, nice=False, padding=12),
        axis=alt.Axis(tickMinStep=1, format="d"),
    )
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    base = alt.Chart(cells).encode(x=x, y=y, color=theme.colour(cells))
    panels = list(dict.fromkeys(cells["panel"].to_pylist()))
    images = sorted({count for count in cells["images"].to_pylist() if count})
    about = (
        f"{' or '.join(f'{count:,}' for count in images)} held-out images" if images else "nothing held out"
    )
    return (
        alt.layer(theme.line(base, chosen), theme.points(base, cells, chosen))
        .properties(width=theme.WIDTH, height=theme.HEIGHT)
        .facet(**theme.facets(panels))
        .resolve_scale(x="independent", y="independent")
        .properties(title=alt.Title("Trainings", subtitle=about))
    )
