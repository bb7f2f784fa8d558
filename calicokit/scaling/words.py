"""What the scaling tables say, in sentences."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.words import number, plural, says


def size(value: float) -> str:
    """A size in few digits.

    >>> [size(v) for v in (0.00164, 3, 20000)]
    ['0.0016', '3', '20,000']
    """
    return number(value) if value >= 10 or value == int(value) else f"{value:.2g}"


@says
def advice(advice: pd.DataFrame) -> str:
    """The advice, or that nothing asks for any (``scaling.advice``)."""
    if not len(advice):
        return "Nothing that was measured asks for a change."
    return " ".join(f"{row.advice} {row.because}" for row in records(advice))


@says
def measures(measures: pd.DataFrame) -> str:
    """What comes nearest to its limit (``scaling.measures``)."""
    if not len(measures):
        return "Nothing could be measured."
    first = next(records(measures.sort_values("share", ascending=False)))
    where = f" on {first.where}" if isinstance(first.where, str) else ""
    return (
        f"{plural(len(measures), 'measure')}; nearest to its limit: {first.measure}{where}, {size(first.value)} of "
        f"{size(first.limit)} {first.unit}."
    )
