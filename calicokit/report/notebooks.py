"""The notebooks that come with the kit: where they are, and copies of them to work in."""

from __future__ import annotations

import shutil
from pathlib import Path

START = "00-start-here.ipynb"
PACKAGE = Path(__file__).parents[1]


def shipped() -> list[Path]:
    """The notebooks that ship, sorted: those in the installed package, else those of the repository."""
    homes = (PACKAGE / "notebooks", PACKAGE.parent / "notebooks")
    home = next((h for h in homes if (h / START).is_file()), None)
    return sorted(p for p in home.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts) if home else []


def find(name_or_path: str) -> Path:
    """A notebook by its path, or one that ships by its name, such as ``01-ipam``.

    Raises ``FileNotFoundError`` with one sentence that names those that ship.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix == ".ipynb" and path.is_file():
        return path
    wanted = name_or_path.removesuffix(".ipynb")
    found = next((p for p in shipped() if p.stem == wanted), None)
    if found is None:
        names = ", ".join(p.stem for p in shipped()) or "none"
        raise FileNotFoundError(f"{name_or_path} is not a notebook; bundled notebooks are: {names}.")
    return found


def copy_to(directory: Path) -> list[Path]:
    """Copy the notebooks that ship to a directory, and return the new copies. What is there already is kept."""
    notebooks = shipped()
    home = next((p.parent for p in notebooks if p.name == START), Path())
    copies = []
    for notebook in notebooks:
        copy = directory / notebook.relative_to(home)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(notebook, copy)
            copies.append(copy)
    return copies
