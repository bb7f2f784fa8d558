#!/usr/bin/env python3
"""Set everything up and show what the kit does; or run the tests. Needs Python 3.11 and the Python package index.

python3 start.py          set up .venv, diagnose a bundled incident, write its notebook as an HTML page
python3 start.py test     set up .venv, then run the tests but the slow ones; pytest's words may follow, such as -k ipam
python3 start.py test --slow    … and those that CI runs too: notebooks, a test cluster, more random examples
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
LOCK = HERE / "requirements.lock"
INCIDENT = "ipam-exhausted"
PAGE = HERE / "out" / "ipam-exhausted.html"

SLOW = "--slow"
QUICK = ("-m", "not slow", "--hypothesis-profile", "quick")
AT_ONCE = ("-n", "auto", "--maxprocesses", "8", "--dist", "worksteal")


# Tests start the kit hundreds of times, which is slow where its 290 modules are compiled each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def run(*command: str | Path, ok: tuple[int, ...] = (0,)) -> None:
    """Run a step and stop with one sentence if it fails."""
    status = subprocess.call([str(c) for c in command], cwd=HERE)
    if status not in ok:
        sys.exit(f"start.py: this step failed with status {status}: {' '.join(map(str, command))}")


def set_up() -> None:
    """A virtual environment with exactly the locked packages, and the kit itself, editable."""
    if sys.version_info < (3, 11):
        sys.exit(f"start.py: Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")
    python = BIN / "python"
    if not python.exists():
        try:
            import ensurepip  # noqa: F401 (Debian splits it off, and venv then fails halfway)
        except ImportError:
            sys.exit("start.py: this Python cannot make virtual environments; on Debian: apt install python3-venv.")
        run(sys.executable, "-m", "venv", VENV)
    uv = shutil.which("uv", path=str(BIN)) or shutil.which("uv")
    if uv is None:
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
        uv = str(BIN / "uv")
    print("Setting up the locked packages …", flush=True)
    run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, "--require-hashes", "-r", LOCK)
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--editable", HERE)


def demo() -> None:
    """The main job: diagnose a real incident and write its investigation as a page."""
    kit = BIN / "calicokit"
    print(f"\n$ calicokit check {INCIDENT}\n", flush=True)
    run(kit, "check", INCIDENT, ok=(1,))  # 1: something is wrong, as it should be
    PAGE.parent.mkdir(exist_ok=True)
    print(f"\n$ calicokit report {INCIDENT} 01-ipam -o {PAGE.relative_to(HERE)}\n", flush=True)
    run(kit, "report", INCIDENT, "01-ipam", "-o", PAGE)
    print(f"\nThe investigation as a page: {PAGE.as_uri()}")
    print(f"In JupyterLab:               {kit} lab {INCIDENT}")
    print(f"Other incidents:             {kit} incidents")


def main() -> None:
    """Set up, then do what was asked for."""
    words = sys.argv[1:]
    if words and words[0] not in ("test", "setup"):
        sys.exit(__doc__)
    set_up()
    if not words:
        demo()
    elif words[0] == "test":
        asked = [w for w in words[1:] if w != SLOW]
        run(BIN / "python", "-m", "pytest", *AT_ONCE, *(() if SLOW in words else QUICK), *asked)


if __name__ == "__main__":
    main()
