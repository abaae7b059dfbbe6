"""The page of all keys of a config, made from their schema: python reference.py SCHEMA > PAGE."""

import sys

import yaml

HEAD = """# Configuration

All keys of a config, made from `rules/config.schema.yaml` by `make reference`. A mistake in a config is
told with its line before anything runs. `config.yaml`, `config/sample.yaml` and `config/imagenet.yaml` are
examples; names and values of perturbations and measures are in [experiments.md](experiments.md).
"""
KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
    "null": "null",
}
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def page(schema):
    """The page (Markdown) of a schema of configs, a dict of JSON Schema."""
    parts, told, others = [HEAD], {}, {}
    for name, entry in schema["properties"].items():
        below = entry.get("additionalProperties") or {}
        holder = below if "properties" in below else entry
        if "properties" not in holder:
            others[name] = entry
            continue
        keys, known = dict(holder["properties"]), []
        for section, those in told.items():
            if all(keys.get(key) == value for key, value in those.items()):
                keys = {key: value for key, value in keys.items() if key not in those}
                known.append(f"All keys of `{section}`, and these.")
        told[name] = holder["properties"]
        sentences = [
            sentence(entry["description"]),
            "Required." if name in schema["required"] else "",
            "An entry has a name of its own, and these keys." if holder is below and not known else "",
            sentence(below.get("description")),
            *known,
        ]
        parts += [f"## {name}\n", " ".join(filter(None, sentences)) + "\n"]
        parts.append(table(keys, holder.get("required", [])))
    return "\n".join([*parts, "## Other keys\n", table(others, schema["required"])])


def table(properties, required):
    """The table of some keys."""
    lines = ["| key | type | default | values | what it is |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *rows(properties, required)]) + "\n"


def rows(properties, required, above=""):
    """The rows of some keys, and of the keys in these."""
    for name, entry in properties.items():
        default = "required" if name in required else written(entry["default"]) if "default" in entry else ""
        cells = [f"`{above}{name}`", kind(entry), default, values(entry), entry.get("description", "")]
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
        yield from rows(entry.get("properties", {}), entry.get("required", []), f"{above}{name}.")


def kind(entry):
    """The type of a value in words."""
    if "$ref" in entry:
        return "name or list of names"
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(map(kind, entry["anyOf"])))
    if "enum" in entry or "const" in entry:
        return "word"
    told = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    of = f" of {kind(entry['items'])}s" if "items" in entry else ""
    return " or ".join(KINDS[each] + (of if each == "array" else "") for each in told)


def values(entry):
    """The values that are allowed, in words; nothing where all of the type are."""
    if "anyOf" in entry:
        return " or ".join(filter(None, map(values, entry["anyOf"])))
    if "const" in entry:
        return written(entry["const"])
    if "enum" in entry:
        return ", ".join(map(written, entry["enum"]))
    entry = entry.get("items", entry)
    return " ".join(f"{word} {entry[key]:g}" for key, word in BOUNDS.items() if key in entry)


def written(value):
    """A value as a config has it."""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def sentence(text):
    """A description as a sentence."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as opened:
        print(page(yaml.safe_load(opened)), end="")
