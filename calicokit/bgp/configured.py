"""What each node's bird.cfg and bird6.cfg say: their sessions and BIRD's settings."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.bgp.codes import NODE, READ, together
from calicokit.evidence.texts import Texts
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

CONFIGURED = Schema(
    "bgp.configured",
    "BGP sessions in each node's bird.cfg and bird6.cfg.",
    (
        NODE,
        Column("family", "int", "4: bird.cfg, or 6: bird6.cfg"),
        Column("protocol", "category", "name of the session"),
        Column("peer_address", "category", "address of the other end"),
        Column("peer_port", "int", "port of the peer; null: 179"),
        Column("peer_as", "int", "AS expected of the peer"),
        Column("local_as", "int", "local AS"),
        Column("source_address", "category", "local address"),
        Column("passive", "bool", "passive: waits for the peer to connect"),
        Column("rr_client", "bool", "the peer is a route reflector client"),
        Column("cluster_id", "category", "route reflector cluster id for the client"),
        Column("password", "bool", "a password is set (its text is never kept)"),
        Column("ttl", "int", "maximum hops (TTL security); null: off"),
        Column("next_hop", "category", "Keep or Self; null for neither"),
        Column("restart_time", "int", "graceful restart time", "s"),
        Column("keepalive_time", "int", "keepalive time", "s"),
        Column("allow_local_as", "int", "times the local AS may appear in a path"),
        Column("disabled", "bool", "the session is disabled"),
        Column("import_filter", "category", "what the import filter does, statement by statement"),
        Column("export_filter", "category", "what the export filter does, statement by statement"),
        Column("line", "int", "line in the file"),
        READ,
    ),
    key=("node", "protocol"),
)

SETTINGS = Schema(
    "bgp.settings",
    "Global BIRD settings in each node's bird.cfg and bird6.cfg: router id, listen address and port.",
    (
        Column("node", "str", "node"),
        Column("family", "int", "4: bird.cfg, or 6: bird6.cfg"),
        Column("key", "str", "router id, listen bgp port, include, …; `template: local as` is the AS of its sessions"),
        Column("value", "str", "its value"),
        Column("line", "int", "line in the file"),
        Column("evidence", "str", "where this was read"),
    ),
)


@table(CONFIGURED, any_of={"files": "bird.cfg", "files6": "bird6.cfg"})
def configured(files: Texts | None, files6: Texts | None = None) -> pd.DataFrame:
    """One row for each BGP session in such a file; see :data:`CONFIGURED`."""
    return together(CONFIGURED, (f for version, texts in ((4, files), (6, files6)) for f in _of_files(version, texts)))


def _of_files(version: int, files: Texts | None) -> Iterator[pd.DataFrame]:
    if files is not None:
        filters = {str(f["node"].iloc[0]): f for f in files.frames("bird-config:bird_filters") if len(f)}
        yield from (_configured(f, filters).assign(family=version) for f in files.frames("bird-config") if len(f))


def _configured(file: pd.DataFrame, filters: dict[str, pd.DataFrame]) -> pd.DataFrame:
    own = file[file["proto"] == "bgp"]
    said = filters.get(str(file["node"].iloc[0]))
    bodies = {} if said is None else _bodies(said)
    names = {"neighbor_address": "peer_address", "neighbor_port": "peer_port", "neighbor_as": "peer_as"}
    names |= {"rr_cluster_id": "cluster_id", "password_set": "password", "graceful_restart_time": "restart_time"}
    keep, self_ = own["next_hop_keep"].fillna(False), own["next_hop_self"].fillna(False)
    own = own.assign(
        next_hop=pd.array(
            ["Keep" if k else "Self" if s else None for k, s in zip(keep, self_, strict=True)], dtype="str"
        ),
        ttl=own["multihop_ttl"].where(own["ttl_security"].fillna(False).astype(bool)),
        import_filter=[bodies.get((p, "import"), f) for p, f in cells(own, "protocol", "import_filter")],
        export_filter=[bodies.get((p, "export"), f) for p, f in cells(own, "protocol", "export_filter")],
    )
    return own.rename(columns=names)


def _bodies(filters: pd.DataFrame) -> dict[tuple[str, str], str]:
    inline = filters[filters["kind"].isin(["import", "export"]) & filters["statement"].notna()]
    return {(str(n), str(k)): "; ".join(group["statement"]) for (n, k), group in inline.groupby(["name", "kind"])}


@table(SETTINGS, any_of={"files": "bird.cfg", "files6": "bird6.cfg"})
def settings(files: Texts | None, files6: Texts | None = None) -> pd.DataFrame:
    """One row for each setting in such a file, and for the AS of its template; see :data:`SETTINGS`."""
    found = [SETTINGS.frame()]
    for version, texts in ((4, files), (6, files6)):
        if texts is None:
            continue
        found += [SETTINGS.take(said.assign(family=version)) for said in texts.frames("bird-config:bird_settings")]
        for templates in texts.frames("bird-config:bird_templates"):
            own = templates[templates["local_as"].notna()]
            named = own.assign(key="template: local as", value=own["local_as"].astype("str"), family=version)
            found.append(SETTINGS.take(named))
    return pd.concat(found, ignore_index=True)
