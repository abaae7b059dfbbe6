"""How much more often each model is right than the reference, on the same perturbed images.

To the right, the model is right more often than the reference model named under the title; to the left,
less often. A row is a dataset and a perturbation; its value is the mean over all levels but the untouched
one and over the seeds. Both models see the very same images, dropped tiles, noise and shuffles, so images
are compared one by one, which makes the intervals much narrower than those of two accuracies. Bars are 95 %
adjusted Wald intervals (Bonett and Price 2012) over images. The intervals are not corrected for the number
of rows. An attack that looks at the model finds other images for each; there the images are the same only
before the attack. Adversarial patches are compared only where they were crafted on a third model. The
differences of single levels stand in the tables of the figures above.
"""

import altair as alt

from patchwork import theme

ORDER = 90
SQL = """
SELECT * RENAME (low AS difference_low, high AS difference_high)
FROM comparisons
ORDER BY panel, place
"""


def chart(cells):
    panels = set(cells["panel"].to_pylist())
    base = alt.Chart(cells).encode(
        y=alt.Y("panel:N", title=None, sort=sorted(panels, key=theme.natural), axis=alt.Axis(labelLimit=280)),
        yOffset="model:N",
        color=theme.colour(cells),
    )
    chosen, title = theme.choice(), "difference of top-1"
    x = alt.X("difference:Q", title=title, axis=alt.Axis(format="+%"))
    chart = alt.layer(
        alt.Chart(cells).mark_rule(style="chance").encode(x=alt.datum(0)),
        theme.interval(base, chosen, "difference_low", "difference_high", alt.X, title),
        theme.points(base.encode(x=x), cells, chosen),
    )
    references = ", ".join(sorted(set(cells["reference"].to_pylist())))
    images = max(cells["images"].to_pylist(), default=0)
    about = f"reference: {references}; {images:,} images" + " at the most" * (
        len(set(cells["images"].to_pylist())) > 1
    )
    title = alt.Title("Paired differences to the reference", subtitle=about)
    # The names of rows are long, and count as a part of the width.
    chart = chart.properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    return chart.properties(width=theme.WIDTH * 1.5, height=max(80, 26 * len(panels)), title=title)
