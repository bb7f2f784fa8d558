"""Write what is generated and committed: ``python docs/make.py``; ``--check``: say if it is fresh.

The reference of tables, kinds and findings is generated where it is read: in the website (``python -m docs.website``).
"""

from __future__ import annotations

import sys
from pathlib import Path

from calicokit import discover
from calicokit.evidence.live import rbac
from calicokit.guide import page

TOP = Path(__file__).parents[1]
MADE = {"deploy/rbac.yaml": rbac.manifest, "calicokit/topics.pyi": discover.stub, "docs/guide-map.md": page.markdown}


def main() -> None:
    """Write the files, or check them."""
    stale = [n for n, make in MADE.items() if not (TOP / n).exists() or (TOP / n).read_text("utf-8") != make()]
    if "--check" in sys.argv:
        sys.exit(f"Stale: {', '.join(stale)}; run python docs/make.py" if stale else 0)
    for name in stale:
        (TOP / name).parent.mkdir(exist_ok=True)
        (TOP / name).write_text(MADE[name](), "utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
