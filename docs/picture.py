"""Make README's picture of ``calicokit check`` in a terminal, docs/images/verdict.png: ``python -m docs.picture``.

Needs Chromium, and is run by hand when the words of the verdict have changed: CI has no browser.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

SOURCE = "ipam-exhausted"
PICTURE = Path(__file__).parent / "images" / "verdict.png"
COLUMNS, LINES = 121, 15
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #0c0c0c; }}
pre {{ margin: 0; padding: 18px 22px; color: #d9d9d9; font: 14px/20px "DejaVu Sans Mono", monospace; }}
</style><pre>{code}</pre>"""


def verdict() -> str:
    """The command and what it prints, as HTML."""
    env = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "calicokit", "check", SOURCE]
    told = subprocess.run(command, env=env, capture_output=True, text=True).stdout
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(Text(f"$ calicokit check {SOURCE}", style="bold"))
        console.print(Text.from_ansi("\n".join(told.splitlines()[: LINES - 1])))
        code = console.export_html(inline_styles=True, code_format="{code}", theme=MONOKAI)
    return PAGE.format(code=code)


def main() -> None:
    """Write the picture."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("docs/picture.py: needs Chromium.")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "verdict.html"
        page.write_text(verdict(), "utf-8")
        quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
        size = f"--window-size={int(COLUMNS * 8.43) + 50},{LINES * 20 + 36}"
        command = [browser, *quiet, size, f"--screenshot={PICTURE}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
