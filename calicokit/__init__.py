"""calicokit: what is this Calico cluster really doing, and why is this traffic failing?

The whole public surface::

    cluster = calicokit.open("ipam-exhausted")   # a recording's path, or the name of a bundled incident
    cluster = calicokit.connect()                # a live cluster: the kubeconfig's current context, or context="NAME"
    cluster.check()                              # findings, most likely root cause first
    cluster.table("ipam.blocks")                 # any table, as a DataFrame
    cluster.ipam.utilisation()                   # the same road, by topic; help(cluster.ipam.blocks) tells its columns
    cluster.explain("shop/web", "shop/db", 5432) # what policy says of a flow, and which rule decides
    cluster.walk("shop/web", "shop/db", 5432)    # what the programmed rules do with its first packet
    cluster.connectivity("shop/web", "shop/db")  # why one end does not reach another
    cluster.coverage                             # what was seen, and what was not
    calicokit.parse("cni-log", text).frame       # any text that a tool printed
    calicokit.incidents()                        # the recordings that come with the kit

Importing this package imports nothing heavy; pandas comes in with the first call that needs it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; importing typing would take most of this import's time
if TYPE_CHECKING:
    from typing import Any

    from calicokit.cluster import Cluster, connect, open, watched  # noqa: A004 (the word that fits)
    from calicokit.evidence.recordings.incidents import incidents
    from calicokit.parsers.base import parse

__version__ = "0.2.0"
__all__ = ["Cluster", "connect", "incidents", "open", "parse", "watched"]

_HOME = {
    "Cluster": "calicokit.cluster",
    "open": "calicokit.cluster",
    "connect": "calicokit.cluster",
    "watched": "calicokit.cluster",
    "parse": "calicokit.parsers.base",
    "incidents": "calicokit.evidence.recordings.incidents",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'calicokit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
