"""How people and networks of others decided cue-conflict images: the CSV files of model-vs-human."""

import csv
import re
from pathlib import Path

import pyarrow as pa

COLUMNS = ["subj", "session", "trial", "rt", "object_response", "category", "condition", "imagename"]
HUMAN = re.compile(r"subject-\d+")
NO_ANSWER = "na"
DECISIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("dataset", "observer")),
        ("human", pa.bool_()),
        ("stimulus", pa.string()),  # airplane/airplane1-bicycle2
        *((name, pa.string()) for name in ("shape_class", "texture_class")),
        ("answer", pa.string()),  # null for no answer
    ]
)


def decisions(dataset, classes, paths):
    """The decisions in the CSV files of a dataset, a table of DECISIONS.

    The texture is told by the image's name (0001_s5n_dnn_0_airplane_00_airplane1-bicycle2.png or
    airplane1-bicycle2.png), whose shape must be the category. classes: the names that an answer may have.
    Raises ValueError naming file, line and column of what is damaged or foreign.
    """
    rows, seen = [], {}
    for path in paths:
        for line, row in lines(path):
            where = f"{path}, line {line}, column"
            for column in ("category", "object_response"):
                if row[column] not in classes and (column, row[column]) != ("object_response", NO_ANSWER):
                    raise ValueError(
                        f"{where} {column}: {row[column]!r} is no class of {dataset}: there are "
                        f"{', '.join(classes)}"
                    )
            shape = row["category"]
            named = re.fullmatch(rf"(?:.*_)?({re.escape(shape)}\d+-(.+?)\d+)\.\w+", row["imagename"])
            if not named or named[2] not in classes:
                raise ValueError(
                    f"{where} imagename: {row['imagename']!r} does not tell a shape, {shape}, and the class "
                    f"of a texture, like {shape}1-{classes[0]}2.png"
                )
            key = row["subj"], named[1]
            if key in seen:
                raise ValueError(f"{where} imagename: {key[0]} decides {key[1]} again, as in {seen[key]}")
            seen[key] = path
            answer = None if row["object_response"] == NO_ANSWER else row["object_response"]
            human = HUMAN.fullmatch(row["subj"]) is not None
            stimulus = f"{shape}/{named[1]}"
            rows.append((dataset, row["subj"], human, stimulus, shape, named[2], answer))
    return pa.Table.from_pylist([dict(zip(DECISIONS.names, row, strict=True)) for row in rows], DECISIONS)


def lines(path):
    """(number, {column: cell}) of each line of a CSV file; ValueError if it is none of model-vs-human."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as opened:
            table = csv.DictReader(opened, strict=True)
            if lost := [name for name in COLUMNS if name not in (table.fieldnames or [])]:
                raise ValueError(
                    f"{path} has no column {lost[0]}: files of model-vs-human have {','.join(COLUMNS)}"
                )
            for row in table:
                if None in row or None in row.values():
                    raise ValueError(
                        f"{path}, line {table.line_num}: not as many cells as the first line has"
                    )
                if not row["subj"]:
                    raise ValueError(f"{path}, line {table.line_num}, column subj: is empty")
                yield table.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file ({error})") from error
