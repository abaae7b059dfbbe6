"""Protocols of few-shot episodes, as far as planning knows them: nothing heavy is imported here.

An entry of `few_shots` is {data, ways, shots, queries, episodes}. `ways` classes and, of each, one of the
numbers `shots` of images to learn from make a setting; `queries` more of each class are decided. Where `ways`
is "variable", episodes are those of Meta-Dataset (Triantafillou et al., ICLR 2020), which draws all three.
"""

FEWEST_WAYS = 5  # of an episode of Meta-Dataset
VARIABLE = "variable"


def settings(entry):
    """The settings of an entry, with ways and shots: {"5-way 1-shot": (5, 1), ...} or {"variable": None}."""
    if entry["ways"] == VARIABLE:
        return {VARIABLE: None}
    return {f"{entry['ways']}-way {shots}-shot": (entry["ways"], shots) for shots in entry["shots"]}


def episode_problem(counts, entry):
    """Why no episodes can be made of a dataset, and what would be right; None if they can.

    counts: images of each class, {name: images}. Every class must be able to take part.
    """
    data, variable = entry["data"], entry["ways"] == VARIABLE
    ways = FEWEST_WAYS if variable else entry["ways"]
    if len(counts) < ways:
        remedy = f"take a dataset of {ways}" if variable else "lower `ways`, or take a dataset of more"
        return f"{data} has {len(counts)} classes, and an episode is of {ways} at least: {remedy}"
    shots, queries = (1, 1) if variable else (max(entry["shots"]), entry["queries"])
    smallest = min(counts, key=lambda name: (counts[name], name))
    images = counts[smallest]
    if images >= shots + queries:
        return None
    if variable:
        remedy = ""
    elif images > shots:
        remedy = f"set `queries` to {images - shots} at most, or "
    else:
        remedy = "lower `shots`, or "
    return (
        f"{data} has {images} image{'s'[: images != 1]} of the class {smallest}, and an episode takes "
        f"{shots} of it to learn from and {queries} to decide: {remedy}leave such classes out"
    )
