"""Which tokens of a network are read together: what classifiers of frozen features see."""


def of_probes(tokens):
    """What classifiers are trained on: a list of ({blocks, block, patch}, places of Tokens.parts).

    `blocks`: "last", what the network's own head sees; "block", one alone; "all"; "last4", if there are more.
    They read the token that decides (class or shape), or, of a network that has none in its blocks, pooled
    features; what the head sees stands for the last block. `block`: the number of a single one, else None;
    what a head sees that is not of the last block or stage has the number after it. `patch`: mean patch
    tokens beside these, "none", that of the "last" block, or that of "each". Nothing is listed twice: the
    mean patch token of "last" is "last", that of "block" is "each"; the last block alone is "last", unless
    the head sees something else; of four blocks or fewer there is no "last4", and of one no "all".
    """
    place = {(part["block"], part["token"]): n for n, part in enumerate(tokens.parts)}
    blocks = range(1, tokens.depth + 1)
    decides = tokens.parts[tokens.decides]
    kinds = [decides["token"], "class", "pooled"]
    kind = next(kind for kind in kinds if all((block, kind) in place for block in blocks))
    single = {block: place[block, kind] for block in blocks}
    patch = {block: place[block, "patch"] for block in blocks if (block, "patch") in place}
    seen = single | {tokens.depth: tokens.decides}
    groups = [("last", decides["block"], [tokens.depth], seen)]
    groups += [("block", block, [block], single) for block in blocks]
    groups += [("all", None, [*blocks], seen), ("last4", None, [*blocks][-4:], seen)]
    found = {}
    for name, block, those, places in groups:
        ways = {"none": [], "last": [tokens.depth], "each": those}
        for way in ("none", "each") if name == "block" else ways:
            if all(other in patch for other in ways[way]):
                read = [places[other] for other in those] + [patch[other] for other in ways[way]]
                found.setdefault(tuple(read), {"blocks": name, "block": block, "patch": way})
    return [(names, list(read)) for read, names in found.items()]


def of_episodes(tokens):
    """The places of Tokens.parts that are read: {"last": [place], "last4": places}. Of four blocks or fewer
    the last four are all of them; of one there is "last" alone."""
    found = {names["blocks"]: places for names, places in of_probes(tokens) if names["patch"] == "none"}
    several = found.get("last4", found.get("all"))
    return {"last": found["last"]} | ({"last4": several} if several else {})
