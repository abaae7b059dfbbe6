"""Where in a network does the class appear? The class token of each block, through the network's own head.

From left to right the blocks of a network, upwards the share of the images whose class the head names when it
is given the class token of that block, after the last norm, in place of that of the last block. At the last
block it is the accuracy of the model itself. The head has learnt to read the last block alone, so what it
cannot read may be there all the same. Upright bars are 95 % intervals (Wilson) over the images, chance is
always naming the most frequent class. Of a distilled network these are the token and the head by which the
model decides, or the mean of both. A panel is a dataset, a colour a model; a click on a model in the legend
lets it stand out.

For datasets with the classes of ImageNet, pale lines are the readings of figure 15 of the paper (all 50,000
validation images; to within 0.8 points).
"""

import altair as alt

from patchwork import theme

ORDER = 69
FAMILY = "block_accuracy"
SQL = """
WITH
    measured AS (
        SELECT dataset, model, place, block, top1, low, high, top5, chance, images, 'this run' AS source
        FROM accuracy_by_block
        UNION ALL
        SELECT
            v.dataset, p.model || ' (published)', 1000,
            regexp_extract(p.condition, 'block=(\\d+)', 1)::SMALLINT, p.value::DOUBLE / 100,
            NULL, NULL, NULL, NULL, NULL,
            'figure 15 of the paper'
        FROM published AS p
        JOIN vocabularies AS v ON of_imagenet
        SEMI JOIN accuracy_by_block ON accuracy_by_block.dataset = v.dataset
        WHERE experiment = 'blockwise_cls_token'
    )
SELECT dataset AS panel, *
FROM measured
ORDER BY dataset, place, model, block
"""


def chart(cells):
    own = cells.filter(cells["images"].is_valid())
    chosen = alt.selection_point(fields=["model"], bind="legend")
    x = alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0))
    y = alt.Y("top1:Q", title="top-1 accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    base = alt.Chart(cells)
    published = base.transform_filter("!isValid(datum.images)").encode(x=x, y=y, detail="model:N")
    measured = base.transform_filter("isValid(datum.images)").encode(x=x, color=theme.colour(own))
    chance = base.encode(y="mean(chance):Q")
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("block:O"),
        alt.Tooltip("top1:Q", title="top-1", format=".1%"),
        alt.Tooltip("low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("top5:Q", title="top-5", format=".1%"),
        alt.Tooltip("images:Q", format=","),
        alt.Tooltip("source:N"),
    ]
    layers = [
        chance.mark_rule(style="chance"),
        chance.mark_text(style="chance-label", text="chance").encode(x=alt.value(0)),
        measured.mark_line().encode(y=y, opacity=theme.faded(chosen, 1, 0.12)),
        published.mark_line(color=theme.PALE, opacity=0.6),
        published.mark_point(color=theme.PALE, opacity=0.6).encode(tooltip=tooltip),
        published.transform_filter("datum.block == 9")  # where the three are far apart
        .mark_text(color=theme.PALE, fontSize=9, align="left", dx=8, dy=5)
        .encode(text="model:N"),
        measured.mark_rule(style="interval").encode(
            y="low:Q", y2="high:Q", opacity=theme.faded(chosen, 0.6, 0.05)
        ),
        measured.mark_point(opacity=1)
        .encode(y=y, shape=theme.shape(own), opacity=theme.faded(chosen, 1, 0.12), tooltip=tooltip)
        .add_params(chosen),
    ]
    names = sorted(set(cells["panel"].to_pylist()), key=theme.natural)
    return (
        alt.layer(*layers)
        .properties(width=theme.WIDTH, height=theme.HEIGHT)
        .facet(**theme.facets(names))
        .resolve_axis(x="independent")
        .properties(title=alt.Title("The class, block by block", subtitle=theme.sampled(own)))
    )
