"""What sheets show: the images of a strip, level by level. No rules here."""

SHEET = "results/sheets/{dataset}/{perturbation}/{variant}.webp"

sheets = {}  # a sheet, and the strips that it is of; a single level shows nothing but images
for strip in there(SHEET, [strip for strip in asked if len(strip["levels"]) > 1], "draw_sheet"):
    sheets.setdefault(SHEET.format(**strip), []).append(strip)


def sheet_models(wildcards):
    """The models through which a sheet can be seen; none if its perturbation looks at pixels alone."""
    entry = perturbation(wildcards)
    if "model" not in entry:
        return []
    if entry.get("variants") == "models":
        return [wildcards.variant]
    return [strip["model"] for strip in sheets.get(SHEET.format(**wildcards), asked)]


def sheet_facts(strip):
    """What the caption of a sheet tells."""
    entry = perturbation(strip)
    keys = ("dataset", "perturbation", "variant", "levels")
    return {key: strip[key] for key in keys} | {"axis": entry["axis"], "shows": entry.get("shows", "")}
