"""A kernel in which notebook after notebook is run: it starts once, and what they build of one source is shared.

As readers run them, each in a kernel of its own, notebooks are run by the website's build.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

from calicokit import progress
from calicokit.report import html

ANEW = """%reset -f
import os, calicokit.cluster
from tests import clusters
calicokit.cluster.open = clusters.of
os.environ.update({env})
"""


@contextmanager
def started() -> Iterator[Any]:
    """A kernel of this interpreter."""
    manager = html._ThisInterpreter()
    run_sync(manager.start_kernel)(cwd=str(Path(__file__).parents[1]))
    try:
        yield manager
    finally:
        run_sync(manager.shutdown_kernel)(now=True)


def page(kernel: Any, notebook: Path, source: str, **env: str) -> str:
    """The notebook's page on a source, as ``calicokit report`` writes it."""
    node: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(node, km=kernel, timeout=None, record_timing=False)
    anew = nbformat.v4.new_code_cell(ANEW.format(env=json.dumps({html.PARAMETER: source, progress.QUIET: "1", **env})))
    with client.setup_kernel():
        client.execute_cell(anew, -1, store_history=False)
        for index, cell in enumerate(node.cells):
            html._execute_cell(client, node, index, cell)
    return html.render(node, source, None)
