"""How surprising a result is if there is nothing."""

import math


def two_sided_p(z):
    """The probability of a standard normal number at least as far from 0 as `z`, in [0, 1]."""
    return math.erfc(abs(z) / math.sqrt(2))


def register(db):
    """Make it known to a DuckDB connection, as a function of a number."""
    db.create_function("two_sided_p", two_sided_p, ["DOUBLE"], "DOUBLE")
