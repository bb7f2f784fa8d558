"""Many jobs at once: all results come, errors are raised, and leaving early asks what runs to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from calicokit.evidence.live import parallel


def counting(start: int, stop: threading.Event) -> Iterator[int]:
    yield from range(start, start + 3)


def test_all_results_of_all_jobs_come_once() -> None:
    jobs = [partial(counting, 10 * n) for n in range(50)]
    assert sorted(parallel.run(jobs, 4)) == sorted(10 * n + i for n in range(50) for i in range(3))


def test_no_more_than_so_many_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def job(stop: threading.Event) -> Iterator[int]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        yield 1

    assert sum(parallel.run([job] * 20, 3)) == 20
    assert most <= 3


def test_an_error_in_a_job_is_raised_where_results_are_read() -> None:
    def broken(stop: threading.Event) -> Iterator[int]:
        raise ValueError("broken job")
        yield 1

    with pytest.raises(ValueError, match="broken job"):
        list(parallel.run([broken], 2))


def test_leaving_early_asks_what_runs_to_stop() -> None:
    stopped = threading.Event()

    def endless(stop: threading.Event) -> Iterator[int]:
        yield 1
        stop.wait(10)
        stopped.set()

    results = parallel.run([endless], 1)
    assert next(results) == 1
    results.close()  # type: ignore[attr-defined]
    assert stopped.wait(5)


def test_a_slow_reader_slows_the_jobs_and_memory_stays_bounded() -> None:
    made = 0

    def plenty(stop: threading.Event) -> Iterator[int]:
        nonlocal made
        for n in range(10_000):
            made += 1
            yield n

    results = parallel.run([plenty], 2)
    next(results)
    time.sleep(0.3)
    assert made < 100
    results.close()  # type: ignore[attr-defined]
