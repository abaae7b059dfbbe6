"""A figure that fails says so in one line that names its file."""

import json

import duckdb
import pytest

from patchwork import figures
from test_warehouse import Study

SQL, CHART = (
    'SQL = "FROM accuracy"',
    "def chart(cells):\n    return alt.Chart(cells).mark_bar().encode(x='level:Q')",
)
FAULTS = {
    "sql": (
        'SQL = "SELECT nothing FROM accuracy"',
        CHART,
        'lacks what it is asked for (Binder Error: Referenced column "nothing"',
    ),
    "chart": (SQL, "def chart(cells):\n    return cells['nothing']", "KeyError: "),
    "value": (
        SQL,
        "def chart(cells):\n    raise ValueError('first line\\nsecond')",
        "ValueError: first line",
    ),
    "schema": (
        SQL,
        CHART.replace("'level:Q'", "alt.X('level:Q', scale=3)"),
        "SchemaValidationError: '3' is an invalid",
    ),
    "import": (SQL, "import nowhere\n" + CHART, "ModuleNotFoundError: No module named 'nowhere'"),
    "lacks": (SQL, "", "KeyError: 'chart'"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study")).build()


def write(folder, sql, chart):
    file = folder / "mine.py"
    file.write_text(f'"""A caption."""\n\nimport altair as alt\n\n{sql}\n\n\n{chart}\n')
    return file


@pytest.mark.parametrize("fault", FAULTS)
def test_a_figure_that_fails_names_its_file_and_the_error_in_one_line(path, tmp_path, fault):
    *parts, expected = FAULTS[fault]
    file = write(tmp_path, *parts)
    with pytest.raises(ValueError, match=r"mine\.py") as error:
        figures.draw(file, path, "A caption.")
    assert str(error.value).startswith(f"{file}: ") and expected in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_wrong_with_the_warehouse_is_not_told_of_the_figure(tmp_path):
    file = write(tmp_path, SQL, CHART)
    (tmp_path / "w.duckdb").write_bytes(b"no database")
    with pytest.raises(ValueError, match=r"^(?!.*mine\.py).*w\.duckdb is damaged"):
        figures.draw(file, tmp_path / "w.duckdb", "A caption.")


def test_a_specification_holds_what_is_shown_to_six_digits(path, tmp_path):
    spec = json.loads(figures.draw(write(tmp_path, SQL, CHART), path, "A caption."))
    [rows] = spec["datasets"].values()
    [whole] = (
        duckdb.connect(path, read_only=True)
        .sql("SELECT top1, low FROM accuracy WHERE model = 'vit' AND level = 0.1")
        .fetchall()
    )
    [row] = [row for row in rows if row["model"] == "vit" and row["level"] == 0.1]
    assert (row["top1"], row["low"]) == pytest.approx(whole, rel=1e-5)
    numbers = [str(value) for value in row.values() if isinstance(value, float)]
    assert max(len(number.lstrip("-0.").replace(".", "")) for number in numbers) == 6
    # Neither the chart nor the table shows these.
    assert not {"perturbation", "variant", "family", "clean", "place", "top5"} & {*row}
