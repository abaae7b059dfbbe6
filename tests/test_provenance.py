"""The fingerprint of code: what it means counts, how it is written does not."""

import textwrap

import pytest

from patchwork import provenance

MAIN = '''
"""A script."""
from patchwork import tools
import patchwork.other

LEVELS = [0, 1]


def double(x, by=2):
    """Twice x."""
    # a comment
    return x * by + tools.ONE
'''


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "main.py", MAIN)
    write(tmp_path, "patchwork/tools.py", "from patchwork import deep\nONE = 1\n")
    write(tmp_path, "patchwork/deep.py", "def f():\n    return 3\n")
    write(tmp_path, "patchwork/other.py", "from patchwork.files import whole\nfrom patchwork import jobs\n")
    write(tmp_path, "patchwork/files.py", "def whole():\n    return 1\n")
    write(tmp_path, "patchwork/jobs.py", "def start():\n    return 1\n")
    write(tmp_path, "patchwork/apart.py", "A = 1\n")
    return tmp_path


def write(root, name, text):
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(textwrap.dedent(text))


def fingerprint(root, *sources):
    provenance.fingerprint.cache_clear()
    provenance.read.cache_clear()
    return provenance.fingerprint(root, *(sources or ["main.py"]))


SAME = [
    ("    # a comment\n", ""),
    ("    # a comment\n", "    # another\n\n\n"),
    ('    """Twice x."""\n', ""),
    ('"""A script."""', "'''Another\nscript.'''"),
    ("x * by + tools.ONE", "(x * by) + (\n        tools.ONE  # one\n    )"),
    ("LEVELS = [0, 1]", "LEVELS = [0, 1, 2]"),
    ("LEVELS = [0, 1]\n", ""),
    ("LEVELS = [0, 1]", "LEVELS = [0, 1]\nAXIS = 'share'\nFAMILY = 'x'\nRANGE = [0, 1]\nVARIANTS = ['a']"),
    ("by=2", "by = 0x2"),
]

DIFFERENT = [
    ("x * by", "by * x"),
    ("by=2", "by=3"),
    ("by=2", "by=2.0"),
    ("by=2", "by=True"),
    ("by=2", "by=None"),
    ("by=2", "by"),
    ("by=2", "by='2'"),
    ("by=2", "*, by=2"),
    ("tools.ONE", "tools.TWO"),
    ("return x", "x"),
    ("def double", "def triple"),
    ("LEVELS", "NOISE"),
    ("LEVELS = [0, 1]", "NOISE = 256"),
    ("import patchwork.other\n", ""),
    ('    """Twice x."""\n', '    """Twice x."""\n    "no docstring"\n'),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_layout_comments_docstrings_and_declarations_do_not_count(root, old, new):
    before = fingerprint(root)
    assert old in MAIN
    write(root, "main.py", MAIN.replace(old, new))
    assert fingerprint(root) == before


@pytest.mark.parametrize(("old", "new"), DIFFERENT)
def test_what_the_code_does_counts(root, old, new):
    before = fingerprint(root)
    assert old in MAIN
    write(root, "main.py", MAIN.replace(old, new))
    assert fingerprint(root) != before


@pytest.mark.parametrize("name", ["tools", "deep", "other"])
def test_what_is_imported_counts_however_far_away(root, name):
    before, path = fingerprint(root), root / f"patchwork/{name}.py"
    path.write_text("# a comment\n" + path.read_text())
    assert fingerprint(root) == before
    path.write_text(path.read_text() + "\nMORE = 1\n")
    assert fingerprint(root) != before


@pytest.mark.parametrize("name", ["files", "jobs", "costs", "apart"])
def test_carriers_and_strangers_do_not_count(root, name):
    before = fingerprint(root)
    (root / f"patchwork/{name}.py").write_text("def other():\n    return 2\n")
    assert fingerprint(root) == before


@pytest.mark.parametrize(
    "statement",
    ["import patchwork.apart", "from patchwork.apart import A", "def f():\n    from patchwork import apart"],
)
def test_every_way_of_importing_is_followed(root, statement):
    write(root, "main.py", f"{statement}\n")
    before = fingerprint(root)
    write(root, "patchwork/apart.py", "A = 2\n")
    assert fingerprint(root) != before


def test_imports_in_a_circle_end(root):
    write(root, "patchwork/deep.py", "from patchwork import tools\nimport main\n")
    before = fingerprint(root)
    write(root, "patchwork/deep.py", "from patchwork import tools\nimport main\nX = 1\n")
    assert fingerprint(root) != before


def test_the_order_of_sources_and_the_place_do_not_count(root, tmp_path_factory):
    both = ["main.py", "patchwork/apart.py"]
    assert fingerprint(root, *both) == fingerprint(root, *both[::-1])
    assert fingerprint(root, *both) != fingerprint(root)
    before, moved = fingerprint(root), tmp_path_factory.mktemp("elsewhere") / "scripts"
    root.rename(moved)
    assert fingerprint(moved) == before
    assert len(before) == 12 and int(before, 16) >= 0


def test_the_digest_of_a_value_ignores_the_order_of_keys_only():
    assert provenance.digest({"a": 1, "b": [1, 2]}) == provenance.digest({"b": [1, 2], "a": 1})
    values = [{"a": 1}, {"a": 2}, {"b": 1}, [1, 2], [2, 1], {"a": "1"}, {"a": None}, 1, 1.5, "1"]
    assert len({provenance.digest(value) for value in values}) == len(values)
