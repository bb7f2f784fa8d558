"""The one place where code of the kit runs that may meet what nobody foresaw: a fault costs one table or check.

A fault of the kit is not evidence that is missing: it is logged with its traceback (``-v`` shows it), says what to
report, and raises where :data:`RAISES` is set, as in the tests.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TypeVar

from calicokit import __version__
from calicokit.evidence.model import Failed, SourceError

RAISES = "CALICOKIT_RAISES"
"""Where this variable of the environment is set, a fault raises instead of being told."""

log = logging.getLogger("calicokit")
log.addHandler(logging.NullHandler())  # silent unless whoever runs it asks, as -v does

T = TypeVar("T")


def attempt(id: str, call: Callable[[], T], passing: tuple[type[Exception], ...] = ()) -> T | Failed:  # noqa: A002
    """What ``call`` gives, or that the kit failed at ``id``: a table, a model or the ids of a check.

    Exceptions in ``passing`` are the answer to whoever asked, not a fault; nor is a source that can answer nothing.
    """
    try:
        return call()
    except Exception as error:  # whatever it is: one table fails, not the answer
        if isinstance(error, (SourceError, *passing)) or os.environ.get(RAISES):
            raise
        log.exception("%s failed", id)
        return Failed(id, words(error))


def words(error: Exception) -> str:
    """A fault in words, with what to report."""
    return (
        f"a fault of calicokit {__version__}, not of the cluster ({type(error).__name__}: {error}); please report this "
        "line to the project's issue tracker, with the traceback that `-v` shows"
    )
