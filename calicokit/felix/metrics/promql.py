"""What Prometheus computes from samples: rate, increase, irate and histogram_quantile, for many series at once.

Source: promql/functions.go and promql/quantile.go @ v2.42 (Debian's server, with which the tests compare). A window
holds the samples from its beginning to its end, both included; version 3 leaves the beginning out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAR = 1.1
"""A window's edge is as good as reached where the nearest sample is within so many mean intervals of it."""

SERIES = ("component", "node", "pod", "metric", "labels")
"""What tells one series of samples from another."""

SECOND = 1000
"""Times are in milliseconds, as Prometheus keeps them."""


@dataclass(frozen=True)
class Series:
    """The samples of many series, ordered by series and time.

    ``code`` numbers the series, ``time`` is in milliseconds, ``total`` the value as it would stand had the counter
    never been reset: after each fall, what it had before goes on.
    """

    code: Ints
    time: Ints
    value: Floats
    rows: Ints  # where each sample stands in the frame it was taken from

    @classmethod
    def of(cls, frame: pd.DataFrame, *names: str) -> Series:
        """Samples of a frame with ``time`` and ``value``, one series for each combination of these columns.

        Samples without a time, and those that repeat a time of their series, are left out.
        """
        code = codes(frame, *names)
        time = frame["time"].to_numpy(dtype="datetime64[ms]").astype(np.int64)
        order = np.lexsort((time, code))
        order = order[np.asarray(frame["time"].notna())[order]]
        made = cls(code[order], time[order], frame["value"].to_numpy(dtype=np.float64)[order], order)
        again = made.follows & (np.diff(made.time, prepend=-1) == 0)
        return cls(*(part[~again] for part in (made.code, made.time, made.value, made.rows)))

    @property
    def follows(self) -> NDArray[np.bool_]:
        """Which samples have one of the same series before them."""
        same: NDArray[np.bool_] = np.diff(self.code, prepend=-1) == 0
        return same

    @property
    def total(self) -> Floats:
        before = np.concatenate(([0.0], self.value[:-1]))[: len(self.value)]
        fell = self.follows & (self.value < before)
        lost = np.cumsum(np.where(fell, before, 0.0))
        first = np.flatnonzero(~self.follows)
        base = np.repeat(lost[first], np.diff(np.append(first, len(lost)))) if len(first) else lost
        total: Floats = self.value + lost - base
        return total

    def steps(self) -> tuple[Floats, Floats]:
        """Growth since the sample before, and seconds since then; NaN for the first of each series.

        A counter that fell was reset, and has grown by what it shows: Prometheus' ``irate`` is the quotient.
        """
        before = np.concatenate(([np.nan], self.value[:-1]))[: len(self.value)]
        grown = np.where(self.value < before, self.value, self.value - before)
        seconds = np.diff(self.time, prepend=0) / SECOND
        gone = ~self.follows
        return np.where(gone, np.nan, grown), np.where(gone, np.nan, seconds)


def codes(frame: pd.DataFrame, *names: str) -> Ints:
    """A number for each combination of these columns' values, null being a value."""
    code = np.zeros(len(frame), dtype=np.int64)
    for name in names:
        column = frame[name]
        own, kinds = (
            (np.asarray(column.cat.codes), column.cat.categories)
            if isinstance(column.dtype, pd.CategoricalDtype)
            else pd.factorize(column)
        )
        code = code * (len(kinds) + 1) + own.astype(np.int64) + 1
        code = np.unique(code, return_inverse=True)[1].astype(np.int64)  # small again, before it overflows
    return code


def over_windows(series: Series, code: Ints, end: Ints, width: int) -> tuple[Floats, Floats]:
    """``increase`` and ``rate`` of a series over a window, for each pair of a series' code and the window's end.

    ``end`` and ``width`` are in milliseconds. NaN where a window holds fewer than two samples. As Prometheus does,
    growth is stretched to the window's edges where samples are near them, and not below zero.
    """
    if not len(series.code) or not len(end):
        return np.full(len(end), np.nan), np.full(len(end), np.nan)
    start = min(int(series.time.min()), int(end.min()) - width)
    span = max(int(series.time.max()), int(end.max())) - start + width + 2
    key = series.code * span + (series.time - start)  # one order of all series' times
    at = code * span + (end - start)
    first, last = np.searchsorted(key, at - width, side="left"), np.searchsorted(key, at, side="right") - 1
    known = last > first
    first, last = np.where(known, first, 0), np.where(known, last, 0)
    total, value, time = series.total, series.value, series.time
    grown = total[last] - total[first]
    sampled = (time[last] - time[first]) / SECOND
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sampled / (last - first)
        before, after = (time[first] - (end - width)) / SECOND, (end - time[last]) / SECOND
        zero = sampled * (value[first] / grown)
        before = np.where((grown > 0) & (value[first] >= 0) & (zero < before), zero, before)
        stretched = sampled + np.where(before < mean * NEAR, before, mean / 2)
        stretched += np.where(after < mean * NEAR, after, mean / 2)
        increase = np.where(known, grown * (stretched / sampled), np.nan)
    return increase, increase / (width / SECOND)


def histogram_quantile(quantile: float, bounds: Floats, counts: Floats) -> Floats:
    """The quantile of each row of cumulative counts (columns: buckets, whose upper bounds grow and end with +Inf).

    NaN where nothing was counted, or the last bucket is not +Inf, or there are no two buckets. Counts are made to grow,
    as scrapes of several targets may disagree by a little.
    """
    rows = len(counts)
    if len(bounds) < 2 or not np.isposinf(bounds[-1]):
        return np.full(rows, np.nan)
    if not 0 <= quantile <= 1:
        return np.full(rows, -np.inf if quantile < 0 else np.inf if quantile > 1 else np.nan)
    grown = np.fmax.accumulate(counts, axis=1)
    seen = grown[:, -1]
    rank = quantile * seen
    at = np.argmax(grown >= rank[:, None], axis=1)
    at = np.minimum(at, len(bounds) - 1)
    line = np.arange(rows)
    before = np.where(at > 0, grown[line, np.maximum(at - 1, 0)], 0.0)
    low = np.where(at > 0, bounds[np.maximum(at - 1, 0)], 0.0)
    high = bounds[at]
    with np.errstate(divide="ignore", invalid="ignore"):
        within = low + (high - low) * ((rank - before) / (grown[line, at] - before))
    made = np.where(at == len(bounds) - 1, bounds[-2], within)
    if bounds[0] <= 0:
        made = np.where(at == 0, bounds[0], made)
    made = np.where(np.isnan(seen) | (seen == 0), np.nan, made)
    return made.astype(np.float64)
