"""How much may be read and how long it may take: of one answer, of all answers of a node, of all that is asked for.

A time limit on each read ends nothing that drips, and a packed answer is a thousand times what came over the wire: so
every piece is counted, unpacked, with the clock beside it. Limits are far above what Calico's biggest clusters answer
(docs/live.md); what passes one is broken, or means harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

MIB, GIB = 1 << 20, 1 << 30

ANSWER_BYTES, ANSWER_SECONDS = 256 * MIB, 120.0
"""One answer of the API server: a page of 500 objects is some 5 MiB, and etcd takes none above 1.5 MiB."""

LIST_BYTES, LIST_SECONDS = GIB, 900.0
"""All pages of one list: 100,000 pods of 10 KiB."""

POD_BYTES, POD_SECONDS = 64 * MIB, 60.0
"""A log or a scrape: 20,000 lines are some 4 MiB, a scrape of a big Felix 1 MiB."""

COMMAND_BYTES = 128 * MIB
"""What a command prints: the rules of 10,000 services with kube-proxy are some 60 MiB."""

NODE_BYTES, NODE_SECONDS = 512 * MIB, 900.0
"""All answers of one node, which are some 10 MiB and take seconds."""

ALL_BYTES, ALL_SECONDS = 8 * GIB, 1800.0
"""All answers to what is asked for at once; nodes have their own time beside it, as many at once as are asked."""


class SpentError(Exception):
    """A limit was passed; its text says which. ``came`` is what came before."""

    def __init__(self, why: str, came: bytes = b"") -> None:
        super().__init__(why)
        self.came = came


class Allowance:
    """What may still be read. Whatever is spent of it is spent of ``within`` too; ``of`` names whose it is."""

    def __init__(self, most: int, seconds: float, within: Allowance | None = None, of: str = "") -> None:
        self._most, self._seconds, self._within, self._of = most, seconds, within, of
        self._end = time.monotonic() + seconds
        self._taken = 0
        self._lock = threading.Lock()

    def spend(self, count: int = 0) -> None:
        """Take so many bytes of it, and look at the clock. Raises :class:`SpentError` where that is too much."""
        with self._lock:
            self._taken += count
        if self._taken > self._most:
            raise SpentError(f"stopped after {_size(self._most)}{self._of}")
        if self.left < 0:
            raise SpentError(f"no end within {self._seconds:g} s{self._of}")
        if self._within is not None:
            self._within.spend(count)

    @property
    def left(self) -> float:
        """Seconds until its own end; below 0 after it."""
        return self._end - time.monotonic()

    def take(self, pieces: Iterable[bytes]) -> bytes:
        """All pieces as one. Raises :class:`SpentError` with what came until then."""
        found = bytearray()
        try:
            for piece in pieces:
                self.spend(len(piece))
                found += piece
        except SpentError as error:
            raise SpentError(str(error), bytes(found)) from None
        return bytes(found)


def _size(count: int) -> str:
    """A number of bytes in words.

    >>> _size(64 * MIB), _size(GIB), _size(1000)
    ('64 MiB', '1 GiB', '1000 bytes')
    """
    units = ((GIB, "GiB"), (MIB, "MiB"))
    return next((f"{count // unit} {name}" for unit, name in units if not count % unit), f"{count} bytes")
