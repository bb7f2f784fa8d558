"""Carry out a plan: start what will undo it, do it, wait, undo it, also on errors and on Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from shlex import join
from threading import Event, Thread

from calicokit.acts.model import ActError, Execute, Plan, Ran, Step

SETTLE = 1.0
"""Seconds that a timer or reader gets to start before something is changed."""

Say = Callable[[str], None]
Wait = Callable[[float], None]


@dataclass
class Outcome:
    """What came of an act: what its reader or last step printed, why it stopped early, and whether all was undone."""

    output: str = ""
    last: Ran | None = None
    failed: str = ""
    interrupted: bool = False
    left: list[str] = field(default_factory=list)
    """What could not be undone, with what does it by hand."""


def perform(plan: Plan, execute: Execute, say: Say, wait: Wait | None = None) -> Outcome:
    """Do what the plan says. Raises :class:`ActError` if it could not begin, when nothing was changed."""
    outcome, stop, wait = Outcome(), Event(), wait or time.sleep
    timer = _Background(plan.timer, execute, stop) if plan.timer else None
    if timer is not None:
        say("starting the timer that would undo it")
        wait(SETTLE)
        if timer.ended:
            stop.set()
            raise ActError(
                f"The timer that would undo it cannot run on the node ({timer.said()}); nothing was changed."
            )
    reader = _Background(plan.reader, execute, stop) if plan.reader else None
    if reader is not None:
        wait(SETTLE)
    begun: list[Step] = []
    try:
        _do(plan, execute, say, wait, outcome, stop, begun)
    except KeyboardInterrupt:
        outcome.interrupted = True
    finally:
        _undo(begun, execute, say, outcome)
        stop.set()
        if reader is not None:
            outcome.output = reader.text()
    return outcome


def _do(
    plan: Plan,
    execute: Execute,
    say: Say,
    wait: Wait,
    outcome: Outcome,
    stop: Event,
    begun: list[Step],
) -> None:
    """The steps in turn, and the wait after them. ``begun`` are those that may have changed something."""
    for step in plan.steps:
        say(step.why)
        begun.append(step)
        ran = _safely(step, execute, stop)
        if isinstance(ran, str):
            outcome.failed = f"{step.argv[0]}: {ran}"
            return
        outcome.last, outcome.output = ran, _text(ran)
        if ran.exit != 0:
            outcome.failed = f"{step.argv[0]}: {_why(ran)}"
            if ran.exit is not None:
                begun.pop()  # it says itself that it did nothing
            return
    if plan.seconds:
        say(f"it stays for {plan.seconds:g} s; Ctrl-C undoes it at once")
        wait(plan.seconds)


def _undo(begun: list[Step], execute: Execute, say: Say, outcome: Outcome) -> None:
    """Each is tried whatever became of the one before; a second Ctrl-C waits until that is done."""
    for step in (s for s in begun if s.undo):
        say(f"undoing: {step.why}")
        job = _Background(Step(step.undo, step.why), execute, Event())
        while not job.ended:
            try:
                job.thread.join()
            except KeyboardInterrupt:
                say("still undoing")
        if job.ran is None or job.ran.exit != 0:
            outcome.left.append(f"{join(step.undo)} ({job.said()})")


class _Background:
    """A command that runs while something else is done."""

    def __init__(self, step: Step, execute: Execute, stop: Event) -> None:
        self.ran: Ran | None = None
        self.error = ""
        self.step, self.execute, self.stop = step, execute, stop
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        ran = _safely(self.step, self.execute, self.stop)
        if isinstance(ran, str):
            self.error = ran
        else:
            self.ran = ran

    @property
    def ended(self) -> bool:
        return not self.thread.is_alive()

    def said(self) -> str:
        return self.error or (_why(self.ran) if self.ran is not None else "no answer")

    def text(self) -> str:
        self.thread.join(timeout=10)
        return _text(self.ran) if self.ran is not None else self.error


def _safely(step: Step, execute: Execute, stop: Event) -> Ran | str:
    """What a command did, or why it could not be run."""
    try:
        return execute(step.argv, step.limit, stop)
    except Exception as error:  # noqa: BLE001 (whatever it is: what was changed must be undone)
        return str(error) or type(error).__name__


def _text(ran: Ran) -> str:
    return ran.stdout.decode("utf-8", "backslashreplace")


def _why(ran: Ran) -> str:
    said = bytes(ran.stderr or ran.stdout).decode("utf-8", "replace").strip()
    return ran.failed or said[:300] or f"status {ran.exit}"
