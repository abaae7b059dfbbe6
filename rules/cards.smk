"""What the report tells of each model. No rules here."""


def weights_source(name):
    """Where the weights of a model come from, in words."""
    entry = models[name]
    told = entry.get("weights", "timm's hub")
    told += ", whose sha256 nobody told" * (entry.get("sha256") == UNKNOWN)
    return "trained here" if "run" in entry else "random numbers" if told == "random" else told


def model_card(name):
    """What the config says of a model; the rest is told by the file of its weights, and by its strips."""
    entry = models[name]
    pixels = entry.get("size") or entry.get("options", {}).get("img_size")
    return {
        **{key: entry.get(key) for key in ("family", "timm", "run", "head")},
        "model": name,
        "options": str(entry.get("options", {})),
        "architecture": built(entry),
        "positions": entry.get("options", {}).get("pos_embed") != "none",
        "untrained": entry.get("weights") == "random",
        "input_pixels": [pixels, pixels] if isinstance(pixels, int) else pixels,
        "weights": weights_source(name),
    }
