"""Pack recording directories into bundled incidents: ``python -m calicokit.evidence.pack DIRECTORY…``

Each directory becomes ``NAME.tar.xz`` in ``calicokit/incidents/``, and a row of ``index.json``. One solid archive each,
as the files of a recording repeat each other: 5 MB become 160 kB. The same directory gives the same bytes.
"""

from __future__ import annotations

import io
import json
import lzma
import sys
import tarfile
from pathlib import Path

from calicokit.evidence.recordings.incidents import HERE, INDEX, Incident, index

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


def pack(recording: Path, into: Path = HERE) -> Incident:
    """Write the archive of one recording directory; returns its row of the index."""
    manifest = json.loads((recording / "manifest.json").read_text(encoding="utf-8"))
    archive = into / f"{recording.name}.tar.xz"
    files = sorted((p for p in recording.rglob("*") if p.is_file()), key=_alike)
    with (
        lzma.open(archive, "wb", filters=FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for file in files:
            data = file.read_bytes()
            member = tarfile.TarInfo(f"{recording.name}/{file.relative_to(recording).as_posix()}")
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return Incident(
        name=recording.name,
        description=manifest["description"],
        calico=str(manifest.get("calico", "")).split(" ")[0],
        kubernetes=str(manifest.get("kubernetes", "")),
        nodes=sum(1 for _ in (recording / "nodes").iterdir()),
        size=sum(f.stat().st_size for f in files),
        packed=archive.stat().st_size,
    )


def _alike(file: Path) -> tuple[str, str]:
    """Files of one kind from all nodes stand together, so that they compress against each other."""
    return file.name, file.as_posix()


def main(directories: list[str]) -> None:
    """Pack each directory and rewrite the index."""
    if not directories:
        sys.exit(__doc__)
    rows = dict(index()) if INDEX.exists() else {}
    for directory in map(Path, directories):
        rows[directory.name] = pack(directory)
        print(f"{directory.name}: {rows[directory.name].size:,} bytes in {rows[directory.name].packed:,}")
    table = [vars(rows[name]) for name in sorted(rows)]
    INDEX.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
