"""One DuckDB file that answers every question of the report: built once, then only read."""

import json
import re
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from patchwork import metrics, tables

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
STYLIZED = pa.schema([(name, pa.string()) for name in ("dataset", "content", "stylizer")])
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
SQL_TYPES = {"int16": "SMALLINT", "int32": "INTEGER", "float32": "FLOAT", "string": "VARCHAR"}
# The columns of views where there are no files, as in a study of nothing but measures that read masks.
NOTHING = {
    "predictions": [*STRIP, *tables.PREDICTIONS.names],
    "images": ["dataset", "image", "label", "class_name", "path", "problem", "texture_class"],
}
TEXTS = {*STRIP, "class_name", "path", "problem", "texture_class"}
SAME_LEVEL = " AND ".join(f"refused.{name} = asked.{name}" for name in [*STRIP, "level"])
SHOWN_ROWS = 3


def build(
    path,
    given,
    asked,
    reference,
    saliency,
    marts,
    checks,
    threads,
    memory_mb,
    trainings=(),
    stylized=(),
    measures=(),
    columns=None,
):
    """Write a warehouse to `path`, which must not exist.

    given: files by what they are: predictions and indexes, lists of parquet files,
    .../dataset/model/perturbation/variant.parquet and .../dataset.parquet; foregrounds, parquet files of
    foreground.SCORES, .../dataset/model.parquet; trainings, parquet files of metrics.EPOCHS, .../run.parquet;
    published, a CSV of published numbers; superclasses, one of classes of ImageNet, (wnid, superclass).
    asked: the strips that the config asks for, dicts with the names of ASKED and `cells` [(level, seed)],
    clean level first. reference: the model that others are compared with. saliency: the config's {model,
    head, grid}, or None. marts: SQL texts in their order; checks: one. trainings: of models that were trained
    here, dicts of TRAININGS. stylized: datasets that were stylized from others, dicts of STYLIZED. Raises
    ValueError with the comment of the first check that finds something. measures: what measures the config
    asks for, dicts of dataset, model, measure, model_family and file, the parquet file of what it found.
    columns: of all measures that there are, {measure: {column: type}}: each becomes a view of that name,
    beside dataset and model.
    """
    with duckdb.connect(path) as db:
        # Some memory is used beside DuckDB's own: Arrow tables, the reading of parquet footers.
        db.execute(f"SET threads = {threads}; SET memory_limit = '{int(memory_mb * 0.8)}MB'")
        db.register("asked_cells", asked_cells(asked))
        db.execute("CREATE TABLE asked AS FROM asked_cells")
        db.register("refused_levels", refused_levels(given["predictions"]))
        db.execute("CREATE TABLE refused AS FROM refused_levels")
        db.register("foreground_scores", foreground_scores(given["foregrounds"]))
        db.execute("CREATE TABLE foreground AS FROM foreground_scores")
        db.register("epochs_told", epochs(given.get("trainings", ())))
        db.execute("CREATE TABLE epochs AS FROM epochs_told")
        db.register("stylized_told", pa.Table.from_pylist([*stylized], STYLIZED))
        db.execute("CREATE TABLE stylized AS FROM stylized_told")
        db.register("trainings_told", pa.Table.from_pylist([*trainings], TRAININGS))
        db.execute(
            "CREATE TABLE trainings AS "
            "SELECT trainings_told.*, dataset IS NOT NULL AS stylized, content, stylizer "
            "FROM trainings_told LEFT JOIN stylized ON dataset = data ORDER BY model"
        )
        told = [{name: str(value) for name, value in saliency.items()}] if saliency else []
        db.register("saliency_told", pa.Table.from_pylist(told, SALIENCY))
        db.execute("CREATE TABLE saliency AS FROM saliency_told")
        db.execute("DELETE FROM asked WHERE EXISTS (FROM refused WHERE " + SAME_LEVEL + ")")
        db.execute("CREATE TABLE sources (name VARCHAR, files VARCHAR[])")
        db.register("measures_told", asked_measures(measures))
        db.execute("CREATE TABLE measures AS FROM measures_told")
        sources = [
            *((name, [str(m["file"]) for m in measures if m["measure"] == name]) for name in columns or {}),
            ("predictions", [*map(str, given["predictions"])]),
            ("indexes", [*map(str, given["indexes"])]),
            ("published", [str(given["published"])]),
            ("superclasses", [str(given["superclasses"])]),
        ]
        db.executemany("INSERT INTO sources VALUES (?, ?)", sources)
        name_sources(db)
        for name, kinds in (columns or {}).items():
            db.execute(measure_view(name, kinds, bool(dict(sources)[name])))
        db.execute("SET VARIABLE reference = ?", [reference])
        db.execute("CREATE TABLE outputs (dataset VARCHAR, outputs INT)")
        for path in given["indexes"]:
            db.execute("INSERT INTO outputs VALUES (?, ?)", outputs(path))
        db.execute("CREATE TABLE computations (computed_with VARCHAR)")
        for words in computations(given["predictions"]):
            db.execute("INSERT INTO computations VALUES (?)", [words])
        for name, kind in [("predictions", "predictions"), ("images", "indexes")]:
            if not given[kind]:
                types = {column: "VARCHAR" if column in TEXTS else "FLOAT" for column in NOTHING[name]}
                db.execute(empty_view(name, types))
        for text in marts:
            db.execute(text)
        for meaning, query in statements(checks):
            check(db, meaning, query)


def asked_cells(asked):
    """The cells of all strips as a table of ASKED."""
    rows = [
        {**strip, "level": level, "seed": seed, "clean": level == strip["cells"][0][0]}
        for strip in asked
        for level, seed in strip["cells"]
    ]
    return pa.Table.from_pylist(rows, ASKED)


def refused_levels(predictions):
    """What perturbations refused to do to which model, and why, as a table of REFUSED."""
    rows = []
    for path in map(Path, predictions):
        strip = dict(zip(STRIP, [*path.parts[-4:-1], path.stem], strict=True))
        metadata = pq.read_schema(path).metadata or {}
        refused = json.loads(metadata.get(b"refused", b"[]"))
        rows += [strip | {"level": level, "reason": reason} for level, reason in refused]
    return pa.Table.from_pylist(rows, REFUSED)


def asked_measures(measures):
    """What was measured of which models, and why not, as a table of MEASURES."""
    rows = []
    for asked in measures:
        metadata = pq.read_schema(asked["file"]).metadata or {}
        rows.append(asked | {"reason": metadata.get(b"refused", b"").decode() or None})
    return pa.Table.from_pylist(rows, MEASURES)


def measure_view(name, columns, is_measured):
    """SQL of the view `name` of all that a measure found, .../dataset/model/name.parquet; without rows where
    it was not asked for."""
    if not is_measured:
        types = {column: SQL_TYPES[kind] for column, kind in columns.items()}
        return empty_view(name, {"dataset": "VARCHAR", "model": "VARCHAR"} | types)
    return (
        f"CREATE VIEW {name} AS SELECT split_part(filename, '/', -3) AS dataset, "
        f"split_part(filename, '/', -2) AS model, * EXCLUDE (filename) "
        f"FROM read_parquet(getvariable('{name}'), filename = true)"
    )


def empty_view(name, types):
    """SQL of a view without rows. types: {column: SQL type}."""
    columns = ", ".join(f"NULL::{kind} AS {column}" for column, kind in types.items())
    return f"CREATE VIEW {name} AS SELECT {columns} WHERE false"


def foreground_scores(paths):
    """Jaccard indices of foregrounds, a table of FOREGROUND."""
    tables = [FOREGROUND.empty_table()]
    for path in map(Path, paths):
        scores = pq.read_table(path)
        for name, value in [("model", path.stem), ("dataset", path.parent.name)]:
            scores = scores.add_column(0, name, [[value] * len(scores)])
        tables.append(scores.cast(FOREGROUND))
    return pa.concat_tables(tables)


def epochs(paths):
    """How runs went, epoch by epoch: a table of EPOCHS."""
    tables = [EPOCHS.empty_table()]
    for path in map(Path, paths):
        rows = pq.read_table(path)
        tables.append(rows.add_column(0, "run", [[path.stem] * len(rows)]).select(EPOCHS.names).cast(EPOCHS))
    return pa.concat_tables(tables)


def outputs(index):
    """A dataset and the number of classes that its models tell apart, from its index."""
    metadata = pq.read_schema(index).metadata or {}
    return [Path(index).stem, len(json.loads(metadata.get(b"classes", b"[]")))]


def computations(predictions):
    """With what the predictions were computed, each way once."""
    metadata = (pq.read_schema(path).metadata or {} for path in predictions)
    return sorted({facts.get(b"computed_with", b"unknown software").decode() for facts in metadata})


def name_sources(db):
    """Tell the views their files: a view keeps the name of a variable, and a connection its value."""
    for name, files in db.execute("SELECT name, files FROM sources").fetchall():
        db.execute(f"SET VARIABLE {name} = ?", [files])


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


@contextmanager
def reading(path):
    """A connection that only reads; its views find their files if it is in the folder of the build."""
    with duckdb.connect(path, read_only=True) as db:
        name_sources(db)
        yield db


def query(path, sql):
    """The result of a query on a warehouse, as an Arrow table."""
    with reading(path) as db:
        return db.sql(sql).to_arrow_table()
