"""Importing nbformat quickly, as writing a page does, and plotly's figures in widgets do.

nbformat imports jsonschema, which imports whatever can check formats. Where ``rfc3987_syntax`` is installed, as it is
with JupyterLab, that compiles 39 grammars of IRIs: 1.5 to 4 s, for a format that no notebook has.
"""

from __future__ import annotations

import sys


def without_iris() -> None:
    """Let jsonschema believe that nothing checks IRIs, unless something has been imported that does."""
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # Python's own way to say: not installed
