"""A figure that fails says so in one line that names its file."""

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
        'BinderException: Binder Error: Referenced column "nothing"',
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
    assert str(error.value).startswith(f"{file}: {expected}") and "\n" not in str(error.value)


def test_what_is_wrong_with_the_warehouse_is_not_told_of_the_figure(tmp_path):
    file = write(tmp_path, SQL, CHART)
    (tmp_path / "w.duckdb").write_bytes(b"no database")
    with pytest.raises(ValueError, match=r"^(?!.*mine\.py).*w\.duckdb is damaged"):
        figures.draw(file, tmp_path / "w.duckdb", "A caption.")
