"""What an act is: a plan that says all it will do. A plan is data: nothing is changed by making it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from shlex import join
from threading import Event
from typing import Protocol

EXEC_VERBS = ("get and create on pods/exec in namespace {namespace}",)
LIMIT = 15.0
"""Seconds that a step may take."""


class ActError(Exception):
    """An act cannot be done; its text is one clear sentence. Nothing was changed, unless it says so."""


class Ran(Protocol):
    """What a command did: as :class:`calicokit.evidence.live.execute.Ran`."""

    stdout: bytearray
    stderr: bytearray
    exit: int | None
    failed: str


Execute = Callable[[Sequence[str], float, Event], Ran]
"""Runs an argv in the act's pod for at most so many seconds, or until the event is set."""


@dataclass(frozen=True)
class Step:
    """One command: its argv, what it does, what undoes it if it was done, how long it may take."""

    argv: tuple[str, ...]
    why: str
    undo: tuple[str, ...] = ()
    limit: float = LIMIT


@dataclass(frozen=True)
class Plan:
    """All that an act will do.

    ``timer`` undoes on the node what the kit cannot undo any more; it is started before anything is changed.
    ``reader`` prints what the act is for; it runs from before the first to after the last step. ``seconds`` is how long
    the change stays.
    """

    title: str
    pod: tuple[str, str]
    container: str
    changes: str
    restarts: str
    undone: str
    expires: str
    seconds: float
    steps: tuple[Step, ...]
    timer: Step | None = None
    reader: Step | None = None
    notes: tuple[str, ...] = ()
    verbs: tuple[str, ...] = field(default=EXEC_VERBS)

    def lines(self) -> Iterator[str]:
        """The plan in words, with every command that it runs."""
        yield self.title
        yield f"  in pod {'/'.join(self.pod)}, container {self.container}"
        yield f"  changes: {self.changes}"
        yield f"  restarts: {self.restarts}"
        yield f"  undone: {self.undone}"
        yield f"  if the kit dies: {self.expires}"
        yield from (f"  note: {note}" for note in self.notes)
        yield f"  needs: {'; '.join(v.format(namespace=self.pod[0]) for v in self.verbs)}"
        for what, steps in (("timer", (self.timer,)), ("reads", (self.reader,)), ("does", self.steps)):
            yield from (f"  {what}: {join(step.argv)}  ({step.why})" for step in steps if step is not None)
        yield from (f"  undoes: {join(step.undo)}" for step in self.steps if step.undo)


def delayed(seconds: int, *argvs: Sequence[str], all_of_them: bool = False) -> Step:
    """A command that waits and then runs others in turn, each if the one before it went well, or all; without a shell.

    ``find`` runs its ``-exec`` in order. ``timeout`` is its parent: a runtime that kills what it started, because the
    connection broke, kills the parent only.
    """
    words = ["-exec", "sleep", str(seconds), ";"]
    for argv in argvs:
        words += [*([","] if all_of_them else []), "-exec", *argv, ";"]
    argv = ("timeout", str(seconds + 60), "find", "/dev/null", "-maxdepth", "0", *words)
    why = f"undoes it on the node after {seconds} s, whatever becomes of the kit"
    return Step(argv, why, limit=seconds + 60.0)


_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def checked_name(name: str, what: str) -> str:
    """A name that Kubernetes would take, as it becomes a word of a command."""
    if not _NAME.fullmatch(name):
        raise ActError(f"{name!r} is no name of a {what}.")
    return name
