"""The page that a notebook becomes: complete in itself, loads nothing, runs nothing that a cluster wrote."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from calicokit.report import notebooks
from calicokit.report.html import NotebookFailedError, write_html
from tests import recordings

EVIL = "<img src=x onerror=alert(1)>"


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of these cells; those that begin with # are markdown."""
    made = [new_markdown_cell(c) if c.startswith("#") else new_code_cell(c) for c in cells]
    for i, cell in enumerate(made):
        cell["id"] = f"cell-{i}"
    path.write_text(nbformat.writes(new_notebook(cells=made)), encoding="utf-8")
    return path


class Loads(HTMLParser):
    """Everything that a browser would fetch for a page, and every handler that it would run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = ("#", "data:")
        urls = [(n, v) for n, v in attrs if n in ("src", "href", "data", "action") and not str(v).startswith(own)]
        self.found += urls + [(n, v) for n, v in attrs if n.startswith("on")]


def loads(page: str) -> list[tuple[str, str | None]]:
    return Loads(page).found


def markup(page: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One page with all that a notebook can show, made without a look at a recording."""
    home = tmp_path_factory.mktemp("page")
    made = notebook(
        home / "n.ipynb",
        "# Title",
        "## A question of `code`\n\nSee [01-ipam](01-ipam.ipynb).",
        "import os\nprint('source is', os.environ['CALICOKIT_SOURCE'])",
        f"from calicokit.sentences import Says\nSays({EVIL!r})",
        f"import pandas as pd\npd.DataFrame({{'name': [{EVIL!r}]}})",
        f"print({EVIL!r})",
        f"from calicokit.figures import message\nmessage({EVIL!r} + ' </script>')",
        "message('a second figure')",
        "import ipywidgets\nipywidgets.Text('a widget')",
    )
    write_html(made, "some-source", home / "deep" / "out.html")
    return (home / "deep" / "out.html").read_text(encoding="utf-8")


def test_page_is_complete_in_itself(page: str) -> None:
    assert not loads(page)
    assert page.count("plotly.js v") == 1
    for word in ("requirejs", "require.min.js", "jupyter.widget", "html-manager", "mathjax", "@import", "cdn"):
        assert word not in markup(page).lower()
    assert "default-src 'none'" in page


def test_page_shows_what_the_notebook_shows(page: str) -> None:
    assert "<title>Title – some-source</title>" in page
    assert "source is some-source" in page
    assert '<a href="#cell-1">A question of code</a>' in page
    assert "See 01-ipam." in page
    assert 'id="figure-2"' in page


def test_hostile_text_is_text(page: str) -> None:
    assert "<img" not in markup(page)
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 3
    # The text of a figure does not end its script element: as many ends as beginnings.
    outside = markup(page)
    assert outside.count("<script") == outside.count("</script>") == 2


def test_only_the_pages_own_scripts_may_run(page: str) -> None:
    import base64
    import hashlib

    policy = re.search(r'Security-Policy" content="([^"]+)"', page)
    assert policy
    allowed = re.findall(r"'sha256-([^']+)'", policy[1])
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts] == allowed
    assert "unsafe-inline" not in policy[1].split("script-src")[1].split(";")[0]


def test_failing_cell_names_its_heading_and_the_last_line(tmp_path: Path) -> None:
    made = notebook(tmp_path / "n.ipynb", "# Top", "## Which pods wait?", "raise ValueError('first\\nthe last line')")
    with pytest.raises(NotebookFailedError, match=r"“Which pods wait\?”: ValueError: the last line$"):
        write_html(made, "x", tmp_path / "o.html")
    assert not (tmp_path / "o.html").exists()


def test_no_notebook(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text("{", encoding="utf-8")
    with pytest.raises(NotebookFailedError, match="is not a notebook"):
        write_html(tmp_path / "n.ipynb", "x", tmp_path / "o.html")


def test_a_path_as_source_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rec").mkdir()
    (tmp_path / "sub").mkdir()
    made = notebook(tmp_path / "sub" / "n.ipynb", "import os\nprint(os.environ['CALICOKIT_SOURCE'])")
    write_html(made, "rec", tmp_path / "o.html")
    assert str(tmp_path / "rec") in (tmp_path / "o.html").read_text(encoding="utf-8")


def test_ctrl_c_leaves_no_kernel_behind(tmp_path: Path) -> None:
    made = notebook(
        tmp_path / "n.ipynb",
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)",
    )
    code = "import sys; from pathlib import Path; from calicokit.report.html import write_html; "
    code += "write_html(Path(sys.argv[1]), 'x', Path(sys.argv[1] + '.html'))"
    run = subprocess.Popen([sys.executable, "-c", code, str(made)], stderr=subprocess.PIPE, text=True)
    written = tmp_path / "pid"
    for _ in range(300):
        if written.exists() and written.read_text():
            break
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)
    assert "KeyboardInterrupt" in said
    assert not alive(int(written.read_text()))


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_find_and_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebooks.find("01-ipam").name == notebooks.find("01-ipam.ipynb").name == "01-ipam.ipynb"
    with pytest.raises(FileNotFoundError, match=r"nothing is not a notebook; .* 00-start-here, 01-ipam"):
        notebooks.find("nothing")
    mine = tmp_path / "mine" / notebooks.START
    mine.parent.mkdir()
    mine.write_text("my own work", encoding="utf-8")
    assert notebooks.START not in [p.name for p in notebooks.copy_to(mine.parent)]
    assert notebooks.copy_to(mine.parent) == []
    assert mine.read_text(encoding="utf-8") == "my own work"
    assert notebooks.find(str(mine)) == mine


@pytest.mark.slow
@pytest.mark.parametrize("name", ["00-start-here", "01-ipam"])
def test_a_hostile_recording(name: str, tmp_path: Path) -> None:
    """Names of pods and of the pool are markup; the page shows them as text."""
    home = tmp_path / "evil"
    for path in recordings.paths("ipam-leaked"):
        text = recordings.read("ipam-leaked", path)
        if path.endswith(".json"):
            text = text.replace(b"catalog-6659f4cf4d", EVIL.encode()).replace(b"default-ipv4-ippool", EVIL.encode())
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(text)
    write_html(notebooks.find(name), str(home), tmp_path / "o.html")
    page = (tmp_path / "o.html").read_text(encoding="utf-8")
    assert "<img" not in markup(page)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert not loads(page)
