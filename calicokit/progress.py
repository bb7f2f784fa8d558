"""What is being done while it is done: on a terminal's standard error and in notebooks; elsewhere nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str], None]


QUIET = "CALICOKIT_QUIET"
"""Set where a notebook is executed for a page, which should hold no trace of progress."""


@contextmanager
def shown(what: str) -> Iterator[Progress]:
    """A context that shows ``what`` and the step it is given; gone when it ends."""
    if _in_notebook():
        import ipywidgets
        from IPython.display import display

        line = ipywidgets.Label(what)
        display(line)  # type: ignore[no-untyped-call]
        try:
            yield lambda step: setattr(line, "value", f"{what}: {step}")
        finally:
            line.close()
    elif sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True, markup=False).status(what) as status:
            yield lambda step: status.update(f"{what}: {step}")
    else:
        yield lambda _: None


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")  # not imported: then this is no notebook
    kernel = shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
    return kernel and QUIET not in os.environ
