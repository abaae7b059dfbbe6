"""What the warehouse tells of itself: comments on its relations and columns, for whoever opens it."""

import csv
import re

CREATED = re.compile(r"CREATE (TABLE|VIEW) (\w+)")


class Glossary:
    """What a CSV (relation, column, meaning) explains; None where it does not.

    Without a column it is the relation that is explained; without a relation, columns of that name in all
    relations which the glossary does not name.
    """

    def __init__(self, path):
        with open(path, encoding="utf-8", newline="") as opened:
            self.told = {(row["relation"], row["column"]): row["meaning"] for row in csv.DictReader(opened)}

    def of_relation(self, relation):
        return self.told.get((relation, ""))

    def of_column(self, relation, column):
        return self.told.get((relation, column), self.told.get(("", column)))


def literal(text):
    """A text as SQL has it."""
    return "'" + str(text).replace("'", "''") + "'"


def comment_on_created(db, query, meaning):
    """Comment on the relation that a statement has created, if it has, with the comment above it."""
    if created := CREATED.match(query):
        db.execute(f"COMMENT ON {created[1]} {created[2]} IS {literal(meaning)}")


def comment(db, glossary):
    """Comment on what a glossary, a CSV, explains."""
    meanings = Glossary(glossary)
    found = db.execute(
        "SELECT table_name, if(sql LIKE 'CREATE VIEW%', 'VIEW', 'TABLE'), list(column_name) "
        "FROM duckdb_columns() JOIN ("
        "SELECT table_name, sql FROM duckdb_tables() WHERE NOT temporary "
        "UNION ALL SELECT view_name, sql FROM duckdb_views() WHERE NOT internal"
        ") USING (table_name) GROUP BY ALL"
    )
    for relation, kind, columns in found.fetchall():
        if meaning := meanings.of_relation(relation):
            db.execute(f"COMMENT ON {kind} {relation} IS {literal(meaning)}")
        for column in columns:
            if meaning := meanings.of_column(relation, column):
                db.execute(f'COMMENT ON COLUMN {relation}."{column}" IS {literal(meaning)}')
