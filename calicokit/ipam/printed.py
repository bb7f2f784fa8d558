"""Pools, their usage and doubly used addresses as kubectl and calicoctl print them, in lower rank.

Source of the layouts: recordings; calicoctl/calicoctl/commands/ipam/show.go and check.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.texts import Texts
from calicokit.ipam.owners import ALLOCATIONS, DUPLICATES, UNALLOCATED
from calicokit.ipam.tables import CONFIG, POOLS, pool_of, pool_prefixes
from calicokit.ipam.usage import UTILISATION
from calicokit.kube.printed import address_in
from calicokit.kube.tables import pod_ref
from calicokit.net import canonical_cidr, prefix
from calicokit.registry import Given, printed
from calicokit.schema import cells, records

FLAGS = {"true": True, "false": False}


@printed("ipam.pools", needs={"texts": "calicoctl-get-ippools-wide"})
def pools(texts: Texts) -> pd.DataFrame:
    """One row a pool that was printed; see :data:`~calicokit.ipam.tables.POOLS`."""
    rows: dict[str, dict[str, Any]] = {}
    for frame in texts.frames("calicoctl-get"):
        for name, fields, ref in cells(frame[frame["name"].notna()], "name", "fields", "evidence"):
            if cidr := _cidr(fields.get("cidr")):
                rows[name] = {"pool": name, "cidr": cidr, "evidence": ref, **_settings(fields, cidr)}
    return POOLS.frame(list(rows.values()))


def _cidr(text: object) -> str | None:
    try:
        return canonical_cidr(str(text))
    except ValueError:
        return None


def _settings(fields: Any, cidr: str) -> dict[str, Any]:
    net = prefix(cidr)
    unexported = FLAGS.get(fields.get("disablebgpexport", ""))
    return {
        "version": net.version,
        "capacity": float(net.size),
        "disabled": FLAGS.get(fields.get("disabled", "")),
        "nat_outgoing": FLAGS.get(fields.get("nat", "")),
        "ipip_mode": fields.get("ipipmode"),
        "vxlan_mode": fields.get("vxlanmode"),
        "bgp_export": None if unexported is None else not unexported,
        "node_selector": fields.get("selector"),
        "assignment_mode": fields.get("assignmentmode") or None,
    }


@printed(
    "ipam.utilisation",
    any_of={"shown": ("calicoctl-ipam-show", "calicoctl-ipam-show-blocks", "calicoctl-ipam-show-borrowed")},
    wants={"pools": "ipam.pools"},
)
def utilisation(shown: Given, pools: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a pool of ``calicoctl ipam show``; see :data:`~calicokit.ipam.usage.UTILISATION`.

    It goes by its CIDR where its name is not known; of blocks something is known where any was printed.
    """
    known = {} if pools is None else {row.cidr: row for row in records(pools)}
    rows: dict[str, dict[str, Any]] = {}
    for texts in shown.values():
        for frame in texts.frames("calicoctl-ipam-show") if texts else ():
            blocks = list(records(frame[frame["grouping"] == "Block"]))
            for row in records(frame[frame["grouping"] == "IP Pool"]):
                if cidr := _cidr(row.cidr):
                    named = {"pool": getattr(known.get(cidr), "pool", cidr), "cidr": cidr}
                    named["disabled"] = getattr(known.get(cidr), "disabled", None)
                    new = {**named, **_usage(row, cidr), **_blocks(blocks, cidr)}
                    rows[cidr] = new if blocks or cidr not in rows else rows[cidr]
    return UTILISATION.frame(list(rows.values()))


MOST_COUNTED = 2**63 - 1
"""calicoctl prints this for the total of a larger pool, and a negative number for what is free of it."""


def _usage(row: Any, cidr: str) -> dict[str, Any]:
    cooling = 0.0 if pd.isna(row.ips_cooling) else row.ips_cooling
    living, total, free = row.ips_in_use - cooling, row.ips_total, row.ips_free
    if prefix(cidr).size > MOST_COUNTED:
        total = float(prefix(cidr).size)
        free = total - row.ips_in_use - (0.0 if pd.isna(row.ips_reserved) else row.ips_reserved)
    usable = living + free
    return {
        "version": prefix(cidr).version,
        "capacity": total,
        "allocated": int(row.ips_in_use),
        "cooling": None if pd.isna(row.ips_cooling) else int(cooling),
        "reserved": row.ips_reserved,
        "free": free,
        "used": living / usable if usable else 1.0,
    }


def _blocks(rows: list[Any], cidr: str) -> dict[str, Any]:
    """What the printed blocks tell of their pool; nothing where none was printed, or of several sizes."""
    pool = prefix(cidr)
    own = [r for r in rows if (c := _cidr(r.cidr)) and pool.covers(prefix(c))]
    sizes = {prefix(str(r.cidr)).size for r in own}
    if len(sizes) != 1:
        return {}
    size = sizes.pop()
    return {
        "blocks": len(own),
        "blocks_unclaimed": float(pool.size // size - len(own)),
        "blocks_empty": sum(r.ips_in_use == 0 for r in own),
        "blocks_full": sum(r.ips_free == 0 for r in own),
        "free_in_blocks": int(sum(r.ips_free for r in own)),
        "fill": sum(r.ips_in_use for r in own) / (size * len(own)),
    }


@printed("ipam.config", needs={"texts": "calicoctl-ipam-show-configuration"})
def config(texts: Texts) -> pd.DataFrame:
    """What ``calicoctl ipam show --show-configuration`` printed; see :data:`~calicokit.ipam.tables.CONFIG`."""
    rows = []
    for frame in texts.frames("calicoctl-ipam-show:configuration"):
        said = dict(cells(frame, "property", "value"))
        most = str(said.get("MaxBlocksPerHost", ""))
        rows.append(
            {
                "strict_affinity": FLAGS.get(str(said.get("StrictAffinity")).lower()),
                "auto_allocate_blocks": FLAGS.get(str(said.get("AutoAllocateBlocks")).lower()),
                "max_blocks_per_host": int(most) if most.isdecimal() and len(most) < 10 else None,
                "evidence": frame["evidence"].iloc[0] if len(frame) else None,
            }
        )
    return CONFIG.frame([r for r in rows if r["strict_affinity"] is not None][:1])


CHECKED = ("calicoctl-ipam-check", "calicoctl-ipam-check-all")
SAID = "calicoctl ipam check says so"
"""Why an address counts as leaked or unallocated where only calicoctl's own check was printed."""


def _problems(checked: Given, kind: str) -> Iterator[Any]:
    """The problems of a kind that ``calicoctl ipam check`` printed, each address once."""
    frames = (f for texts in checked.values() if texts for f in texts.frames("calicoctl-ipam-check:problems"))
    found = {row.subject: row for frame in frames for row in records(frame[frame["kind"] == kind])}
    yield from (found[subject] for subject in sorted(found))


@printed("ipam.allocations", any_of={"checked": CHECKED}, wants={"pools": "ipam.pools"})
def allocations(checked: Given, pools: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each address that ``calicoctl ipam check`` named as leaked; see :data:`~owners.ALLOCATIONS`."""
    nets = pool_prefixes(pools)
    rows = []
    for row in _problems(checked, "leaked"):
        if address := address_in(row.subject):
            place = {"address": address, "pool": pool_of(prefix(address), nets), "version": prefix(address).version}
            owner = {"owner": row.owner, "type": "pod", "state": "leaked", "why": SAID}
            rows.append({**place, **owner, "evidence": row.evidence})
    return ALLOCATIONS.frame(rows)


@printed("ipam.unallocated", any_of={"checked": CHECKED}, wants={"pools": "ipam.pools"})
def unallocated(checked: Given, pools: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each address that it named as in use and not allocated; see :data:`~owners.UNALLOCATED`."""
    nets = pool_prefixes(pools)
    rows = []
    for row in _problems(checked, "not-allocated"):
        if address := address_in(row.subject):
            place = {"address": address, "pool": pool_of(prefix(address), nets)}
            rows.append({**place, "owner": row.owner, "kind": "pod", "certain": True})
    return UNALLOCATED.frame([r for r in rows if isinstance(r["owner"], str)])


@printed("ipam.duplicates", needs={"pods": "kube.pods"}, wants={"use": "ipam.utilisation"})
def duplicates(pods: pd.DataFrame, use: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each address that two running pods have; see :data:`~calicokit.ipam.owners.DUPLICATES`.

    Which pods are host-networked is not printed: pods of one node may all have its address, unless a pool holds it.
    """
    nets = [] if use is None else [prefix(str(c)) for c in use["cidr"]]
    hosts = {a for addresses in pods[pods["host_network"].fillna(False)]["addresses"] for a in addresses}
    users: dict[str, list[Any]] = {}
    for pod in records(pods[(pods["phase"] == "Running") & pods["node"].notna()]):
        for address in pod.addresses:
            users.setdefault(address, []).append(pod)
    rows = list(_shared({a: found for a, found in users.items() if a not in hosts}, nets))
    return DUPLICATES.frame(rows)


def _shared(users: dict[str, list[Any]], nets: list[Any]) -> Iterator[dict[str, Any]]:
    for address in sorted(users):
        found = users[address]
        owners, nodes = sorted({pod_ref(p) for p in found}), sorted({p.node for p in found})
        own = all(p.host_network is False for p in found) or any(net.covers(prefix(address)) for net in nets)
        if len(owners) > 1 and (own or len(nodes) > 1):
            yield {"address": address, "owners": owners, "nodes": nodes, "blocks": []}
