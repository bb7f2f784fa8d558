"""Many slow jobs at once, whose results one reader takes as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from math import inf
from queue import Empty, Full, Queue, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = Callable[[threading.Event], Iterable[T]]

_POLL = 0.2


def run(jobs: Iterable[Job[T]], at_once: int, seconds: float = inf) -> Iterator[T]:
    """The results of all jobs, as they come; a job is given an event that asks it to stop.

    A slow reader slows the jobs. Ending the iteration (Ctrl-C, an exception, ``close``) asks them to stop and waits for
    none: the threads are daemons. It ends so after ``seconds`` too, whatever a job hangs in. An error in a job is
    raised here.
    """
    waiting: SimpleQueue[Job[T]] = SimpleQueue()
    count = 0
    for count, job in enumerate(jobs, 1):  # noqa: B007
        waiting.put(job)
    results: Queue[tuple[str, Any]] = Queue(maxsize=2 * at_once)
    stop, end = threading.Event(), time.monotonic() + seconds
    for number in range(min(at_once, count)):
        threading.Thread(target=_work, args=(waiting, results, stop), name=f"calicokit-{number}", daemon=True).start()
    try:
        while count and time.monotonic() < end:
            try:  # with a time limit, as a wait without one hears no Ctrl-C on Windows
                what, value = results.get(timeout=_POLL)
            except Empty:
                continue
            if what == "end":
                count -= 1
            elif what == "error":
                raise value
            else:
                yield value
    finally:
        stop.set()


def _work(waiting: SimpleQueue[Job[T]], results: Queue[tuple[str, Any]], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            job = waiting.get_nowait()
        except Empty:
            return
        try:
            for value in job(stop):
                _put(results, ("value", value), stop)
        except BaseException as error:  # noqa: BLE001 (the reader raises it)
            _put(results, ("error", error), stop)
        _put(results, ("end", None), stop)


def _put(
    results: Queue[tuple[str, T | BaseException | None]],
    item: tuple[str, T | BaseException | None],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            results.put(item, timeout=_POLL)
        except Full:
            continue
        return
