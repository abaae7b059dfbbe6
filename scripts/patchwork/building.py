"""The warehouse is built: one DuckDB file that answers every question of the report."""

import json
import re
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from patchwork import (
    bootstrap,
    documentation,
    files,
    metrics,
    networks,
    observers,
    recorded,
    significance,
    tables,
)

STRIP = ["dataset", "model", "perturbation", "variant"]
ASKED = pa.schema(
    [
        *((name, pa.string()) for name in STRIP),
        ("family", pa.string()),  # of the perturbation
        ("model_family", pa.string()),
        ("level", pa.float32()),  # as the predictions have it, so that the two can be joined
        ("seed", pa.int16()),
        ("clean", pa.bool_()),  # the first level of a strip
    ]
)
FOREGROUND = pa.schema(
    [
        ("dataset", pa.string()),
        ("model", pa.string()),  # whose attention it is
        ("image", pa.int32()),
        ("level", pa.float32()),  # share of the attention that the foreground holds at least
        ("jaccard", pa.float32()),
        ("random", pa.float32()),  # of as many tiles at random
    ]
)
SALIENCY = pa.schema([("model", pa.string()), ("head", pa.string()), ("grid", pa.string())])
REFUSED = pa.schema([*(ASKED.field(name) for name in [*STRIP, "level"]), ("reason", pa.string())])
MEASURES = pa.schema(
    [
        *((name, pa.string()) for name in ("dataset", "model", "measure", "model_family")),
        ("reason", pa.string()),  # why it does not apply to the model; null where it does
    ]
)
# What is asked for and not there, if a run is told with holes.
ABSENT = pa.schema(
    [
        *((name, pa.string()) for name in ("kind", *STRIP, "measure", "transfer", "few_shot")),
        ("model_family", pa.string()),
    ]
)
OUTPUTS = pa.schema([("dataset", pa.string()), ("outputs", pa.int32()), ("names", pa.list_(pa.string()))])
CATEGORIES = pa.schema(
    [
        ("dataset", pa.string()),
        ("label", pa.int16()),
        ("class_name", pa.string()),  # of the category
        ("members", pa.list_(pa.string())),  # the classes of a model that make it up
    ]
)
STYLIZED = pa.schema([(name, pa.string()) for name in ("dataset", "content", "stylizer")])
# What the paper calls models and datasets of the run.
PUBLISHED_AS = pa.schema([(name, pa.string()) for name in ("kind", "name", "published", "head")])
TRAININGS = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "run", "recipe", "data")),
        # Equal where the networks are, and where all of the training is but its images and its teacher.
        ("architecture", pa.string()),
        ("settings", pa.string()),
        ("head", pa.string()),  # of a distilled network: class, shape or mean
        ("teacher", pa.string()),  # a model
    ]
)
EPOCHS = pa.schema([("run", pa.string()), *metrics.EPOCHS])
SQL_TYPES = {"int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "string": "VARCHAR"}
SQL_TYPES |= {
    "float": "FLOAT",
    "float32": "FLOAT",
    "halffloat": "FLOAT",
    "bool": "BOOLEAN",
    "list<item: bool>": "BOOLEAN[]",
}
# What is learnt from frozen features; `dataset` is the name of its entry.
LEARNT = {
    name: {field.name: str(field.type) for field in schema}
    for name, schema in [("probe", tables.PROBES), ("few_shot", tables.FEW_SHOTS)]
}
# Columns of every index; few datasets tell what the texture of an image stands for.
INDEX = {"image": "int32", "label": "int16", "class_name": "string", "path": "string", "problem": "string"}
TEXTURE = {"texture_class": "string"}
PREDICTIONS = {field.name: str(field.type) for field in tables.PREDICTIONS}
# What every parquet file of a kind must have; those of measures say themselves what they have.
NEEDED = {
    "predictions": [*PREDICTIONS],
    "indexes": [*INDEX],
    "foregrounds": [name for name in FOREGROUND.names if name not in ("dataset", "model")],
    "trainings": metrics.EPOCHS.names,
}
MADE_BY = {  # the rules, as they are asked for by name
    **{"predictions": "predict", "indexes": "pack_images"},
    **{"foregrounds": "score_foreground", "trainings": "export_weights"},
    **{name: name for name in LEARNT},
}
SAME_LEVEL = " AND ".join(f"refused.{name} = asked.{name}" for name in [*STRIP, "level"])
SHOWN_ROWS = 3


def build(path, given, told, marts, checks, threads, memory_mb):
    """Write a warehouse to `path`, which must not exist.

    given: files by what they are. predictions and indexes: lists of parquet files,
    .../dataset/model/perturbation/variant.parquet and .../dataset.parquet. foregrounds: parquet files of
    foreground.SCORES, .../dataset/model.parquet. trainings: of metrics.EPOCHS, .../run.parquet. published: a
    CSV of published numbers; superclasses: one of classes of ImageNet (wnid, superclass); claims: one of
    claims of the paper; glossary: one of what relations and columns are (see documentation.comment).

    told: what the config says. asked: strips, dicts with the names of ASKED and `cells` [(level, seed)],
    clean level first. reference: the model that others are compared with. And, where there are some:
    saliency {model, head, grid}; trainings, of models that were trained here, dicts of TRAININGS;
    stylized, of STYLIZED; published_as, of PUBLISHED_AS (kind: model or dataset); measures, dicts of
    dataset, model, measure, model_family and `file`, the parquet file of what it found; columns, of all
    measures that there are, {measure: {column: type}}: each becomes a view of that name, beside dataset
    and model; decisions, CSV files of observers.decisions by dataset, {name: [path]}. probe and few_shot
    are told as measures, with the name of their entry for a dataset. models: see networks.networks. jobs:
    see recorded.jobs. absent: what is asked for and not there, dicts of ABSENT.

    marts: SQL texts in their order; checks: one. Raises ValueError with the comment of the first check that
    finds something, and before all else if a file is damaged or lacks columns.
    """
    measures, columns, saliency = (told.get(key, {}) for key in ("measures", "columns", "saliency"))
    columns = columns | LEARNT
    found = {name: [str(m["file"]) for m in measures if m["measure"] == name] for name in columns}
    footers = {
        kind: read_footers(paths, columns.get(kind) or NEEDED[kind], MADE_BY.get(kind, "measure"))
        for kind, paths in (found | {kind: given[kind] for kind in NEEDED}).items()
    }
    measured = {path: footer for name in columns for path, footer in footers[name].items()}
    facts = {Path(path).stem: index_facts(footer) for path, footer in footers["indexes"].items()}
    computed_with = computations(footers["predictions"])
    known = {
        "asked": asked_cells(told["asked"]),
        "refused": refused_levels(footers["predictions"]),
        "foreground": foreground_scores(given["foregrounds"]),
        "epochs": epochs(given["trainings"]),
        "stylized": pa.Table.from_pylist(told.get("stylized", []), STYLIZED),
        "published_as": pa.Table.from_pylist(told.get("published_as", []), PUBLISHED_AS),
        "models_trained": pa.Table.from_pylist(told.get("trainings", []), TRAININGS),
        "saliency": pa.Table.from_pylist(
            [{k: str(v) for k, v in saliency.items()}] if saliency else [], SALIENCY
        ),
        "measures": asked_measures(measures, measured),
        "outputs": outputs(facts),
        "categories": categories(facts),
        "other_decisions": other_decisions(told.get("decisions", {}), facts),
        "computations": pa.table({"computed_with": pa.array(sorted({*computed_with.values()}), pa.string())}),
        "jobs": recorded.jobs(told.get("jobs", []), computed_with),
        "networks": networks.networks(told.get("models", []), told.get("jobs", [])),
        "absent": pa.Table.from_pylist(told.get("absent", []), ABSENT),
    }
    with duckdb.connect(path) as db:
        # Some memory is used beside DuckDB's own: Arrow tables, the reading of parquet footers.
        db.execute(f"SET threads = {threads}; SET memory_limit = '{int(memory_mb * 0.8)}MB'")
        for name, rows in known.items():
            db.register("rows_told", rows)
            db.execute(f"CREATE TABLE {name} AS FROM rows_told")
        db.execute("DELETE FROM asked WHERE EXISTS (FROM refused WHERE " + SAME_LEVEL + ")")
        db.execute("CREATE TABLE built_in AS SELECT ? AS folder", [str(Path(path).parent)])
        for name in ("published", "superclasses", "claims"):
            db.execute(f"SET VARIABLE {name} = ?", [str(given[name])])
        db.execute("SET VARIABLE reference = ?", [told["reference"]])
        bootstrap.register(db)
        significance.register(db)
        for name, kinds in columns.items():
            db.execute(files_view(name, ["dataset", "model", None], found[name], kinds))
        db.execute(files_view("predictions", STRIP, given["predictions"], PREDICTIONS))
        db.execute(files_view("images", ["dataset"], given["indexes"], INDEX | TEXTURE, union=True))
        for meaning, query in chain.from_iterable(map(statements, marts)):
            db.execute(query)
            documentation.comment_on_created(db, query, meaning)
        documentation.comment(db, given["glossary"])
        for meaning, query in statements(checks):
            check(db, meaning, query)
        db.execute("CHECKPOINT")  # closing does so, too, but keeps silent about a full disk


def asked_cells(asked):
    """The cells of all strips as a table of ASKED."""
    rows = [
        {**strip, "level": level, "seed": seed, "clean": level == strip["cells"][0][0]}
        for strip in asked
        for level, seed in strip["cells"]
    ]
    return pa.Table.from_pylist(rows, ASKED)


def read_footers(paths, columns, rule):
    """What parquet files tell of themselves, {path: {bytes: bytes}}.

    columns: names that each must have. rule: what makes the files. Raises ValueError naming a file that is
    damaged, or the first that lacks columns.
    """
    footers, lacking = {}, {}
    for path in paths:
        with files.reading(path):
            schema = pq.read_schema(path)
        footers[path] = schema.metadata or {}
        if lost := [name for name in columns if name not in schema.names]:
            lacking[path] = ", ".join(lost)
    if lacking:
        (path, lost), *others = lacking.items()
        remedy = f" (as do {len(others):,} more): snakemake --forcerun {rule} makes them again"
        remedy = remedy if others else ": delete it and run again"
        raise ValueError(f"{path} is of another version and lacks {lost}{remedy}")
    return footers


def refused_levels(footers):
    """What perturbations refused to do to which model, and why, as a table of REFUSED. footers: of strips."""
    rows = []
    for path, footer in footers.items():
        *_, dataset, model, perturbation, file = Path(path).parts
        strip = dict(zip(STRIP, [dataset, model, perturbation, Path(file).stem], strict=True))
        refused = json.loads(footer.get(b"refused", b"[]"))
        rows += [strip | {"level": level, "reason": reason} for level, reason in refused]
    return pa.Table.from_pylist(rows, REFUSED)


def asked_measures(measures, footers):
    """What was measured of which models, and why not, as a table of MEASURES."""
    rows = []
    for asked in measures:
        rows.append(asked | {"reason": footers[str(asked["file"])].get(b"refused", b"").decode() or None})
    return pa.Table.from_pylist(rows, MEASURES)


def files_view(name, parts, paths, types, union=False):
    """SQL of the view `name` of parquet files: what their paths tell, then what is in them.

    parts: what the last parts of a path are, names of columns; None for one that is no column. paths: of
    the files, from the folder in which the warehouse is read. They stand in the view itself, so that whoever
    opens the warehouse there finds them, and no stale file joins in. types: {column: Arrow type} of a view
    without files, which has no rows. union: whether files may lack some of these columns.
    """
    columns = {part: "string" for part in parts if part} | types
    empty = ", ".join(f"NULL::{SQL_TYPES[kind]} AS {column}" for column, kind in columns.items())
    if not paths:
        return f"CREATE VIEW {name} AS SELECT {empty} WHERE false"
    listed = ", ".join(map(documentation.literal, paths))
    without_ending = f"left(filename, -{len('.parquet')})"
    told = "".join(
        f"split_part({without_ending}, '/', {place - len(parts)}) AS {part}, "
        for place, part in enumerate(parts)
        if part
    )
    return (
        f"CREATE VIEW {name} AS SELECT {told}* EXCLUDE (filename) "
        f"FROM read_parquet([{listed}], filename = true, union_by_name = {union})"
        + f" UNION ALL BY NAME SELECT {empty} WHERE false"
        * union
    )


def foreground_scores(paths):
    """Jaccard indices of foregrounds, a table of FOREGROUND."""
    tables = [FOREGROUND.empty_table()]
    for path in map(Path, paths):
        with files.reading(path):
            scores = pq.read_table(path)
        for name, value in [("model", path.stem), ("dataset", path.parent.name)]:
            scores = scores.add_column(0, name, [[value] * len(scores)])
        tables.append(scores.cast(FOREGROUND))
    return pa.concat_tables(tables)


def epochs(paths):
    """How runs went, epoch by epoch: a table of EPOCHS."""
    tables = [EPOCHS.empty_table()]
    for path in map(Path, paths):
        with files.reading(path):
            rows = pq.read_table(path)
        tables.append(rows.add_column(0, "run", [[path.stem] * len(rows)]).select(EPOCHS.names).cast(EPOCHS))
    return pa.concat_tables(tables)


def index_facts(footer):
    """From the index of a dataset: the classes that its models tell apart, in order, and the classes of a
    model that each is made of, {} if they are no categories."""
    told = [(b"classes", b"[]"), (b"categories", b"{}")]
    return [json.loads(footer.get(key, empty)) for key, empty in told]


def outputs(facts):
    """The classes that the models of each dataset tell apart, a table of OUTPUTS.

    facts: index_facts by dataset.
    """
    return pa.Table.from_pylist(
        [{"dataset": name, "outputs": len(names), "names": names} for name, (names, _) in facts.items()],
        OUTPUTS,
    )


def categories(facts):
    """What the classes of datasets with categories are made of, a table of CATEGORIES.

    facts: index_facts by dataset.
    """
    rows = [
        {"dataset": dataset, "label": label, "class_name": name, "members": members[name]}
        for dataset, (names, members) in facts.items()
        for label, name in enumerate(names)
        if members
    ]
    return pa.Table.from_pylist(rows, CATEGORIES)


def other_decisions(paths, facts):
    """How people and other networks decided, a table of observers.DECISIONS.

    paths: CSV files by dataset. facts: index_facts by dataset.
    """
    told = [observers.decisions(dataset, facts[dataset][0], files) for dataset, files in paths.items()]
    return pa.concat_tables([observers.DECISIONS.empty_table(), *told])


def computations(footers):
    """With what the predictions were computed: {(dataset, model, perturbation, variant): words}.

    footers: of strips.
    """
    unknown = b"unknown software"
    return {
        (*Path(path).parts[-4:-1], Path(path).stem): footer.get(b"computed_with", unknown).decode()
        for path, footer in footers.items()
    }


def statements(text):
    """(comment, query) of each statement of an SQL text. A statement has no blank line and ends its line
    with a semicolon; a comment that a blank line divides from it is not its own."""
    for piece in re.split(r";[ \t]*(?:--.*)?$", text, flags=re.M):
        lines = piece.strip().split("\n\n")[-1].splitlines()
        comment = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
        query = "\n".join(line for line in lines if not line.startswith("--"))
        if query:
            yield comment, query


def check(db, meaning, query):
    """Raise ValueError if a query finds something, with its meaning and the first rows."""
    found = db.execute(f"FROM ({query}) LIMIT {SHOWN_ROWS}")
    names = [column[0] for column in found.description]
    rows = found.fetchall()  # all of them: a result that is not read to its end blocks the connection
    if rows:
        shown = [", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True)) for row in rows]
        raise ValueError("\n".join([meaning or query, *(f"  {row};" for row in shown)]))
