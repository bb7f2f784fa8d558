"""From what a user types to a source: a path, a bundled incident's name, or ``incident:NAME``."""

from __future__ import annotations

import difflib
from pathlib import Path

from calicokit.evidence.files import open_files
from calicokit.evidence.model import Source, SourceError
from calicokit.evidence.recordings.incidents import index
from calicokit.evidence.recordings.recording import Recording

INCIDENT = "incident:"
CONTEXT, IN_CLUSTER = "context:", "in-cluster:"


def source_of(text: str) -> Source:
    """The source that ``text`` names; ``context:NAME`` (nothing for the current one) and ``in-cluster:`` are live ones.

    A path wins over an incident of the same name. Raises :class:`SourceError` with one sentence if nothing is named so.
    """
    if not text.strip():
        raise SourceError("No SOURCE given; give a recording's path or an incident's name (`calicokit incidents`).")
    if text.startswith((CONTEXT, IN_CLUSTER)):
        from calicokit.evidence.live.cluster import (
            LiveCluster,  # with it comes the kubernetes client, which takes a second
        )

        return LiveCluster(text.removeprefix(CONTEXT), in_cluster=text.startswith(IN_CLUSTER))
    name = text.removeprefix(INCIDENT)
    if name == text and Path(text).expanduser().exists():
        from calicokit.evidence.bundles.layouts import source_in  # with it come the parsers

        return source_in(open_files(Path(text).expanduser()), text)
    if name in index():
        return Recording(index()[name].path, name)
    near = difflib.get_close_matches(name, index(), n=1)
    hint = f"did you mean {near[0]}?" if near else "`calicokit incidents` lists the bundled ones."
    raise SourceError(f"{text} is neither a file or directory nor a bundled incident; {hint}")
