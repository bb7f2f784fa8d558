"""Rates and quantiles by hand, also where no Prometheus server is installed to compare with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calicokit.felix.metrics.promql import Series, codes, histogram_quantile, over_windows


def series(*points: tuple[float, float]) -> Series:
    times = pd.to_datetime([t for t, _ in points], unit="s", utc=True)
    return Series.of(pd.DataFrame({"time": times, "value": [v for _, v in points], "metric": "m"}), "metric")


def window(found: Series, end: float, width: float) -> tuple[float, float]:
    increase, rate = over_windows(found, np.array([0]), np.array([int(end * 1000)]), int(width * 1000))
    return float(increase[0]), float(rate[0])


def test_growth_is_stretched_to_the_edges_but_not_below_zero() -> None:
    counter = series((0, 0), (10, 10), (20, 20))
    assert window(counter, 25, 30) == pytest.approx((25, 25 / 30))  # 5 s after the last, none before a zero
    assert window(counter, 60, 60) == pytest.approx((25, 25 / 60))  # far from the end: half an interval


def test_a_counter_that_fell_was_reset() -> None:
    counter = series((0, 100), (10, 110), (20, 4), (30, 5))
    assert counter.steps()[0][1:].tolist() == [10, 4, 1]
    assert counter.total.tolist() == [100, 110, 114, 115]
    assert window(counter, 30, 30)[0] == pytest.approx(15)


def test_one_sample_and_none_tell_nothing() -> None:
    assert np.isnan(window(series((0, 1)), 5, 10)).all()
    assert np.isnan(window(series((0, 1), (1, 2)), 500, 10)).all()
    assert over_windows(series(), np.array([], int), np.array([], int), 10)[0].size == 0


def test_quantiles_lie_in_their_bucket() -> None:
    bounds, counts = np.array([1.0, 2.0, np.inf]), np.array([[1.0, 3.0, 4.0], [0.0, 0.0, 0.0]])
    assert histogram_quantile(0.5, bounds, counts)[0] == pytest.approx(1.5)
    assert histogram_quantile(0.99, bounds, counts)[0] == 2.0  # beyond the last bound
    assert np.isnan(histogram_quantile(0.5, bounds, counts)[1])
    assert np.isnan(histogram_quantile(0.5, bounds[:2], counts[:, :2])).all()
    assert histogram_quantile(1.5, bounds, counts)[0] == np.inf


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=40))
def test_growth_never_falls_and_adds_up(values: list[float]) -> None:
    counter = series(*((10.0 * i, v) for i, v in enumerate(values)))
    steps, seconds = counter.steps()
    assert (steps[1:] >= 0).all()
    assert (seconds[1:] == 10).all()
    assert counter.total[-1] - counter.total[0] == pytest.approx(steps[1:].sum(), rel=1e-9, abs=1e-3)


def test_rows_are_one_series_where_all_columns_agree() -> None:
    frame = pd.DataFrame({"a": ["x", "x", None, None], "b": pd.Categorical(["p", "q", "p", "p"])})
    found = codes(frame, "a", "b").tolist()
    assert found[2] == found[3]
    assert len(set(found)) == 3
