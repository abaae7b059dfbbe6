"""Before against after.

A mark is a number of both runs: to the right what it was before, upwards what it is after; on the dashed
line both are the same. Those in colour have moved by more than the draw of images explains. A panel is a
measure; top-1 is the accuracy of a model under a level of a perturbation, as a mean over the seeds that
both runs have. The tooltip tells the difference with its 95 % interval, and over how many images or
episodes it is.
"""

import altair as alt

from patchwork import theme

INTERVAL = "isValid(datum.low) ? format(datum.low, '+.2%') + ' to ' + format(datum.high, '+.2%') : '-'"


def chart(cells):
    shares = alt.Scale(domain=[min(0, *cells["before"].to_pylist(), *cells["after"].to_pylist()), 1])
    x, y = (
        channel(f"{name}:Q", title=name, scale=shares, axis=alt.Axis(format="%", tickCount=5))
        for channel, name in [(alt.X, "before"), (alt.Y, "after")]
    )
    names = alt.Scale(domain=["moved", "not moved"], range=[theme.COLOURS[1], theme.PALE])
    tooltip = [
        *(alt.Tooltip(f"{name}:N") for name in ("model", "dataset", "cell")),
        alt.Tooltip("level:Q"),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("before", "after")),
        alt.Tooltip("change:Q", format="+.2%"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("p_adjusted:Q", title="p, adjusted", format=".2g"),
        alt.Tooltip("units:Q", title="images or episodes", format=","),
        alt.Tooltip("changed_units:Q", title="of which changed", format=","),
    ]
    layers = [
        alt.Chart(cells)
        .mark_line(style="chance")
        .encode(x=x, y=alt.Y("before:Q", title="after", scale=shares)),
        alt.Chart(cells)
        .mark_point(opacity=0.8)
        .transform_calculate(interval=INTERVAL)
        .encode(
            x=x,
            y=y,
            color=alt.Color("state:N", scale=names),
            shape=alt.Shape("state:N", scale=alt.Scale(domain=names.domain, range=["diamond", "circle"])),
            tooltip=tooltip,
        ),
    ]
    panels = sorted(set(cells["panel"].to_pylist()), key=lambda panel: (panel != "top-1", panel))
    return (
        alt.layer(*layers)
        .properties(width=theme.WIDTH, height=theme.WIDTH * 0.8)
        .facet(**theme.facets(panels))
        .resolve_axis(x="independent")
        .properties(title="Two runs, number by number")
    )
