"""What code means, whatever its comments, layout and timestamps."""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

# Constants that the workflow reads from a file and tracks by value; code only where a file uses them itself.
DECLARED = {"FAMILY", "AXIS", "LEVELS", "RANGE", "VARIANTS", "NEEDS", "SETTINGS", "MODEL"}
DECLARED |= {"GRADIENTS", "PASSES", "PASSES_PER_SEED"}  # of planning

# Modules that carry results, or plan jobs, and decide nothing: a new wording of a log line computes nothing
# again.
CARRIERS = {"patchwork/files.py", "patchwork/jobs.py", "patchwork/costs.py"}


def imports(tree, root):
    """The files under root that a module imports, but for CARRIERS."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module is None or node.level:
                raise ValueError("a relative import would not be followed: write `from patchwork import ...`")
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            path = Path(root, *name.split(".")).with_suffix(".py")
            if path.exists() and path.relative_to(root).as_posix() not in CARRIERS:
                yield path


def canonical(node):
    """A syntax tree as text that is the same in every version of Python (ast.dump is not)."""
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={canonical(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])
        )
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(canonical, node))}]"
    return repr(node)


def meaning(tree):
    """A module without docstrings and declarations; comments and layout are not in its tree anyway."""
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    tree.body = [
        n
        for n in tree.body
        if not (isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") in DECLARED - used)
    ]
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node) is not None:
            del node.body[0]
    return canonical(tree)


@cache
def read(path, root):
    """The digest of what a module means, and the files under root that it imports; many programs share it."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imported = [*imports(tree, root)]
    return digest(meaning(tree)), imported


@cache
def fingerprint(root, *sources):
    """Twelve hex digits that change when sources, or what they import from root, change meaning."""
    meanings, queue = {}, [Path(root, source) for source in sources]
    while queue:
        path = queue.pop()
        if path not in meanings:
            meanings[path], imported = read(path, root)
            queue += imported
    return digest([(path.relative_to(root).as_posix(), meanings[path]) for path in sorted(meanings)])


def digest(value):
    """Twelve hex digits of anything that JSON can hold."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=6).hexdigest()
