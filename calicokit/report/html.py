"""A notebook, executed on a source, as one HTML page that loads nothing: no CDN, no widget manager, plotly.js once.

Text of a cluster is escaped where it is shown. Should that ever fail, the page's content security policy lets only the
page's own scripts run, known by their hashes, and forbids every request. Two runs on the same recording give the same
bytes: ids count up, and neither times of execution nor numbers of cells are written.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert.exporters.templateexporter import TemplateExporter
from traitlets import default

from calicokit import __version__, progress
from calicokit.evidence.recordings import redact
from calicokit.figures import MIME

HERE = Path(__file__).parent
WIDGET = "application/vnd.jupyter.widget-view+json"
PARAMETER = "CALICOKIT_SOURCE"


class NotebookFailedError(Exception):
    """A cell failed. The text is one sentence: the cell's heading, and the error's last line."""


class _Page(TemplateExporter):
    """nbconvert's templates and filters, without the parts of HTMLExporter that load from a CDN."""

    file_extension = ".html"
    output_mimetype = "text/html"


class _ThisInterpreter(AsyncKernelManager):
    """Starts a kernel of this very interpreter, whatever kernelspecs are installed."""

    @default("transport_encryption")
    def _encrypted(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.enabled=False"]
        curve = {"supported_encryption": ["curve"]}
        return KernelSpec(argv=argv, display_name="calicokit", language="python", metadata=curve)


def write_html(notebook: Path, source: str, output: Path, keep_secrets: bool = False) -> None:
    """Execute ``notebook`` on ``source``, without what is secret in it, and write it to ``output``.

    Raises :class:`NotebookFailedError` if a cell fails, and ``OSError`` if a file cannot be read or written.
    """
    executed, hidden = execute(notebook, source, keep_secrets)
    page = render(executed, source, hidden)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")


def execute(notebook: Path, source: str, keep_secrets: bool = False) -> tuple[Any, list[redact.Hidden] | None]:
    """The notebook with the outputs that it has on this source, and what was hidden; None where secrets are kept.

    The kernel is told to redact by a variable, which every cluster that is made in it goes by.
    """
    try:
        node: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise NotebookFailedError(f"{notebook} is not a notebook: {_last_line(str(error))}") from error
    resources = {"metadata": {"path": str(notebook.resolve().parent)}}
    client = NotebookClient(
        node, resources=resources, timeout=None, kernel_manager_class=_ThisInterpreter, record_timing=False
    )
    local = Path(source).expanduser()
    with tempfile.TemporaryDirectory(prefix="calicokit-") as profile:
        # Without the user's IPython profile, so that a page does not depend on what it starts.
        named = str(local.resolve()) if local.exists() else source
        journal = Path(profile) / "hidden.jsonl"
        env = {**os.environ, "IPYTHONDIR": profile, PARAMETER: named, progress.QUIET: "1"}
        env[redact.JOURNAL] = "" if keep_secrets else str(journal)
        # setup_kernel and not execute: that one swallows Ctrl-C.
        with client.setup_kernel(env=env):
            for index, cell in enumerate(node.cells):
                _execute_cell(client, node, index, cell)
        return node, None if keep_secrets else redact.hidden_in(journal)


def _execute_cell(client: NotebookClient, node: Any, index: int, cell: Any) -> None:
    try:
        client.execute_cell(cell, index)
    except CellExecutionError as error:
        why = f"{error.ename}: {_last_line(error.evalue)}"
        raise NotebookFailedError(f"The notebook failed in “{_heading(node, index)}”: {why}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        why = _last_line(str(error))
        raise NotebookFailedError(f"The notebook was stopped in “{_heading(node, index)}”: {why}") from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(c for c in lines[-1] if c.isprintable()) if lines else "no message"


def _heading(node: Any, index: int) -> str:
    """The heading that a cell stands under."""
    found = [h for cell in node.cells[: index + 1] if cell.cell_type == "markdown" for h in _headings(cell.source)]
    return found[-1] if found else f"cell {index + 1}"


def _headings(markdown: str) -> list[str]:
    return re.findall(r"^#+ +(.+?) *$", markdown, flags=re.MULTILINE)


def render(node: Any, source: str, hidden: Sequence[redact.Hidden] | None) -> str:
    """An executed notebook as a page, which says what was hidden, or, if that is None, that nothing was."""
    figures = _prepare(node)
    exporter = _Page(extra_template_basedirs=[str(HERE)], template_name="page")  # type: ignore[no-untyped-call]
    sections = [
        {"id": cell.id, "title": title.replace("`", "")}
        for cell in node.cells
        if cell.cell_type == "markdown"
        for title in re.findall(r"^## +(.+?) *$", cell.source, flags=re.MULTILINE)
    ]
    titles = [h for cell in node.cells if cell.cell_type == "markdown" for h in _headings(cell.source)]
    scripts = [_plotly(), (HERE / "page" / "page.js").read_text(encoding="utf-8")] if figures else []
    page = {
        "figure": MIME,
        "title": titles[0] if titles else "calicokit",
        "source": source,
        "version": __version__,
        "hidden": hidden,
        "sections": sections,
        "scripts": scripts,
        "policy": _policy(scripts),
        "css": (HERE / "page" / "page.css").read_text(encoding="utf-8"),
    }
    body, _ = exporter.from_notebook_node(node, resources={"page": page})
    return str(body)


def _prepare(node: Any) -> int:
    """Leave in each output only what the page shows, and number the figures; returns how many there are."""
    node.metadata.pop("widgets", None)
    figures = 0
    for cell in node.cells:
        if cell.cell_type != "code":
            # The other notebooks do not travel with the page.
            cell.source = re.sub(r"\[([^\]]+)\]\([\w./-]+\.ipynb\)", r"\1", cell.source)
            continue
        cell.outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
        for output in cell.outputs:
            if MIME in output.get("data", {}):
                figures += 1
                drawn = output["data"][MIME]
                output["data"] = {MIME: _json(drawn)}
                output["metadata"] = {
                    "number": figures,
                    "fact": _fact(drawn),
                    "height": drawn["layout"].get("height", 450),
                }
    return figures


def _json(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _fact(drawn: Any) -> str:
    title = drawn["layout"].get("title", {}).get("text", "")
    return unescape(re.sub(r"<[^>]*>", " ", title))


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _policy(scripts: list[str]) -> str:
    """A content security policy: the page's own scripts run, nothing else does, and nothing is requested."""
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'"
    )
