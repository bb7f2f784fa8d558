"""A pod that keeps what is run in it, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

from calicokit.evidence.live.execute import Ran

Answer = Ran | Exception | Callable[[Event], Ran]


def ran(stdout: bytes = b"", exit: int | None = 0, stderr: bytes = b"", failed: str = "") -> Ran:  # noqa: A002
    return Ran(bytearray(stdout), bytearray(stderr), exit, failed)


def until_stopped(stdout: bytes = b"") -> Callable[[Event], Ran]:
    """A command that runs until the act is over, as a timer or monitor does."""

    def run(stop: Event) -> Ran:
        stop.wait(20)
        return ran(stdout, None, failed="stopped")

    return run


class Pod:
    """Answers by the first answer whose words begin the argv, or stand in it joined; else with success."""

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = answers
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], limit: float, stop: Event) -> Ran:
        assert limit > 0
        assert all(isinstance(word, str) for word in argv)
        self.ran.append(tuple(argv))
        for words, answer in self.answers.items():
            # What a timer or reader names is not what it is.
            timed = words in ("timeout", "monitor trace")
            if words in " ".join(argv) and (argv[0] == "timeout") == timed:
                if isinstance(answer, Exception):
                    raise answer
                return answer(stop) if callable(answer) else answer
        return ran()

    def did(self, *words: str) -> list[tuple[str, ...]]:
        """What was run whose first words are these."""
        return [a for a in self.ran if a[: len(words)] == words]
