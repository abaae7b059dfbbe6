"""What there is to choose from: files that register themselves by being in a folder."""

import ast
import difflib
from contextlib import suppress
from pathlib import Path


def constants(path):
    """The UPPER_CASE literals at the top of a file, in lower case, and its docstring as `doc`.

    The file is parsed, not run: the Snakefile is read once per job, and must not import torch.
    Raises ValueError for several constants in one line, which would be overlooked.
    """
    tree = ast.parse(Path(path).read_text(encoding="utf-8"), filename=str(path))
    found = {"doc": ast.get_docstring(tree)}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                with suppress(ValueError):  # what is computed is private to the file
                    found[name.lower()] = ast.literal_eval(value)
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=name), *_])]) if name.isupper():
                raise ValueError(f"{path}, line {node.lineno}: give each constant a line of its own")
    return found


def catalogue(folder):
    """Every file of a folder, by its name."""
    return {path.stem: constants(path) for path in sorted(Path(folder).glob("[!_]*.py"))}


def variants(entries, models=()):
    """The same, with an entry for each of the VARIANTS that a file lists; VARIANTS = "models" lists `models`.
    Those that it also lists as STEADY draw no random numbers, so their entries have no NOISE.

    Raises ValueError for a file that lacks a constant that every perturbation has.
    """
    for name, entry in entries.items():
        for constant in {"family", "axis", "levels"} - set(entry):
            raise ValueError(f"the perturbation {name}.py needs a literal {constant.upper()} at its top")
    listed = {name: entry.get("variants", ["plain"]) for name, entry in entries.items()}
    return {
        f"{name}/{variant}": {
            key: value
            for key, value in entries[name].items()
            if key != "noise" or variant not in entries[name].get("steady", [])
        }
        for name, those in listed.items()
        for variant in (models if those == "models" else those)
    }


def answers(name, entry):
    """All that a study can call an entry: its name, its name without its variant, its family."""
    return {name, name.split("/")[0], entry.get("family")} - {None}


def pick(wanted, entries):
    """The names of the entries that `wanted` (a name or a list) chooses, in the order of the entries.

    Raises ValueError for what no entry answers to.
    """
    wanted = {wanted} if isinstance(wanted, str) else set(wanted)
    known = set().union(*(answers(name, entry) for name, entry in entries.items()))
    for name in sorted(wanted - known):
        raise ValueError(unknown(name, known))
    return [name for name, entry in entries.items() if answers(name, entry) & wanted]


def unknown(name, known):
    """That a name is not known, and what there is. Of a name with many variants, these are told only to who
    asks for one of them."""
    told = [other for other in known if "/" not in other or other.split("/")[0] == name.split("/")[0]]
    return f"{name!r} is not known{suggest(name, known)}; there are {', '.join(sorted(told)) or 'none'}"


def suggest(name, known):
    """', did you mean ...?' if something known is alike."""
    close = difflib.get_close_matches(str(name), sorted(map(str, known)), 1)
    return f", did you mean {close[0]!r}?" if close else ""


def cells(perturbation, levels, seeds):
    """The cells (level, seed) of a strip in their order. The first level changes nothing, so one seed
    does for it; so it does for a perturbation without NOISE."""
    first, *others = levels
    used = seeds if "noise" in perturbation else seeds[:1]
    return [(first, seeds[0])] + [(level, seed) for level in others for seed in used]
