"""What is made of the code and kept with it: pages of docs/ that list what it knows, and the operations of
the networks that the configs name. In the folder of the workflow: python -m patchwork.reference."""

import json
from pathlib import Path

import yaml

from patchwork import building, costs, documentation
from patchwork.catalogue import catalogue

KEYS = """# Configuration

All keys of a config, made from `rules/config.schema.yaml` by `make reference`. A mistake in a config is
told with its line before anything runs. `config.yaml`, `config/sample.yaml` and `config/imagenet.yaml` are
examples; names and values of perturbations and measures are in [experiments.md](experiments.md).
"""
COLUMNS = """# Columns

What is in the parquet files of [files.md](files.md), made by `make reference` from the code that writes them
and from `reports/glossary.csv`. The views and tables of the warehouse have more columns, and explain
themselves ([reading.md](reading.md)).
"""
TYPES = {"float": "float32", "halffloat": "float16", "list<item: bool>": "list of bool"}
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


def keys_page(schema):
    """The page (Markdown) of a schema of configs, a dict of JSON Schema."""
    parts, told, others = [KEYS], {}, {}
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


def columns_page(measures, glossary):
    """The page (Markdown) of the columns of parquet files.

    measures: {name: {column: type}}. glossary: documentation.Glossary.
    """
    kinds = {
        "predictions": building.PREDICTIONS,
        "images": building.INDEX | building.TEXTURE,
        "foreground": types(building.FOREGROUND),
        "epochs": types(building.EPOCHS),
        **building.LEARNT,
        **measures,
    }
    parts = [COLUMNS]
    for relation, columns in kinds.items():
        parts += [f"## {relation}\n", f"{glossary.of_relation(relation)}\n"]
        parts.append("| column | type | what it is |\n|---|---|---|")
        for column, told in columns.items():
            meaning = glossary.of_column(relation, column)
            parts.append(f"| `{column}` | {TYPES.get(told, told)} | {meaning} |")
        parts.append("")
    return "\n".join(parts)


def types(schema):
    """The types of the columns of a schema that lie in the files: whose they are, a view tells."""
    return {field.name: str(field.type) for field in schema if field.name not in ("dataset", "model", "run")}


def pages(rules, reports):
    """{name of a file in docs: its content} of the pages that are made here. rules, reports: folders."""
    glossary = documentation.Glossary(Path(reports, "glossary.csv"))
    found = catalogue(Path(__file__).parent / "measures")
    measures = {name: measure["columns"] for name, measure in found.items()}
    schema = yaml.safe_load(Path(rules, "config.schema.yaml").read_text(encoding="utf-8"))
    return {"configuration.md": keys_page(schema), "columns.md": columns_page(measures, glossary)}


def networks(configs):
    """All networks of some configs, files, as costs.network names them."""
    told = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in configs]
    return {costs.network(entry) for config in told for entry in config.get("models", {}).values()}


if __name__ == "__main__":
    for name, text in pages("rules", "reports").items():
        Path("docs", name).write_text(text, encoding="utf-8")
    counted = costs.counted(networks([Path("config.yaml"), *Path("config").glob("*.yaml")]), "scripts")
    Path("rules/operations.json").write_text(f"{json.dumps(counted, indent=1)}\n")
