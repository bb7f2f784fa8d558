"""What is being done while it is done: on a terminal's standard error and in notebooks; elsewhere nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """A context that shows ``what`` and the step it is given; gone when it ends."""
    if not (sys.stderr.isatty() or _in_notebook()):
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True, markup=False).status(what) as status:
        yield lambda step: status.update(f"{what}: {step}")


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # not imported: then this is no notebook
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
