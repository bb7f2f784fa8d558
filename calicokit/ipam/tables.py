"""What Calico's IPAM objects say: pools, blocks, addresses, affinities, handles, configuration, reservations.

Facts of the fields: libcalico-go/lib/ipam, libcalico-go/lib/backend/model, api/pkg/apis/projectcalico/v3 (HEAD).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.evidence.objects import Object, Objects, Row, spec
from calicokit.kube.tables import EVIDENCE
from calicokit.net import Prefix, address_text, canonical_cidr, prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

WINDOWS_HANDLE = "windows-reserved-ipam-handle"
DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
VERSION = Column("version", "int", "IP version: 4 or 6")
POOL = Column("pool", "str", "name of the IP pool; null for a block in no pool")
BLOCK = Column("block", "str", "CIDR of the block")

POOLS = Schema(
    "ipam.pools",
    "IP pools, with Calico's defaults filled in.",
    (
        Column("pool", "str", "name"),
        Column("cidr", "str", "CIDR"),
        VERSION,
        Column("block_size", "int", "prefix length of its blocks"),
        Column(
            "capacity", "float", "addresses in it; Calico uses all of them, including the first and last", "addresses"
        ),
        Column("blocks_total", "float", "blocks that fit in it", "blocks"),
        Column("disabled", "bool", "no new addresses are allocated from it; those in use and their routes stay"),
        Column("ipip_mode", "str", "Never, Always or CrossSubnet"),
        Column("vxlan_mode", "str", "Never, Always or CrossSubnet"),
        Column("nat_outgoing", "bool", "SNAT for traffic from its pods to destinations outside all pools"),
        Column("bgp_export", "bool", "its routes are exported by BGP"),
        Column("node_selector", "str", "selector of nodes that can claim blocks from it"),
        Column("namespace_selector", "str", "selector of namespaces whose pods can use it (v3.31 and later)"),
        Column("allowed_uses", "list", "Workload, Tunnel, LoadBalancer"),
        Column("assignment_mode", "str", "Automatic, or Manual: used only where requested by name"),
        Column("created", "time", "creation time"),
        EVIDENCE,
    ),
    key=("pool",),
)

BLOCKS = Schema(
    "ipam.blocks",
    "IPAM blocks: affinity and usage.",
    (
        BLOCK,
        POOL,
        VERSION,
        Column("node", "str", "node that owns it; null if none"),
        Column("affinity", "str", "the affinity as stored: host:NODE or virtual:NAME"),
        Column("size", "int", "addresses in it", "addresses"),
        Column("allocated", "int", "addresses not free; calicoctl's IPS IN USE", "addresses"),
        Column("cooling", "int", "of those, released and in cooldown before they are free", "addresses"),
        Column("reserved", "int", "addresses covered by an IPReservation, allocated or not", "addresses"),
        Column("free", "int", "addresses free to allocate; calicoctl's IPS FREE", "addresses"),
        Column("claimed", "time", "when its node claimed it (v3.32 and later), else creation time"),
        Column("revision", "int", "resourceVersion of the object"),
        Column(
            "structure",
            "str",
            "inconsistency inside the block, as calicoctl ipam check words it; null if none",
        ),
        EVIDENCE,
    ),
    key=("block",),
)

ADDRESSES = Schema(
    "ipam.addresses",
    "Every address that its block does not have as free, as the block records it.",
    (
        Column("address", "str", "address"),
        BLOCK,
        POOL,
        VERSION,
        Column("ordinal", "int", "0-based offset in the block"),
        Column("node", "str", "node it is allocated to"),
        Column("block_node", "str", "node that owns the block"),
        Column("handle", "str", "IPAM handle"),
        Column("type", "str", "pod, vmi, loadBalancer, windows-reserved, a tunnel's type, or other"),
        Column("namespace", "str", "namespace of the pod or service it is allocated to"),
        Column("pod", "str", "pod it is allocated to"),
        Column("service", "str", "service it is allocated to"),
        Column("since", "time", "allocation time"),
        Column("cooling", "bool", "released, not yet free"),
        EVIDENCE,
    ),
    key=("block", "address"),
)

AFFINITIES = Schema(
    "ipam.affinities",
    "Block affinities: which node claims which block.",
    (
        Column("node", "str", "the node, or the virtual owner"),
        BLOCK,
        Column("state", "str", "confirmed, pending (claim in progress) or pendingDeletion"),
        Column("type", "str", "host or virtual"),
        Column("created", "time", "creation time"),
        EVIDENCE,
    ),
    key=("node", "block"),
)

HANDLES = Schema(
    "ipam.handles",
    "IPAM handles: one row per handle and block; a handle without blocks has one row with a null block.",
    (
        Column("handle", "str", "handle id; a pod's is NETWORK.SANDBOX"),
        BLOCK,
        Column("count", "int", "addresses of the handle in the block", "addresses"),
        EVIDENCE,
    ),
    key=("handle", "block"),
)

CONFIG = Schema(
    "ipam.config",
    "Effective IPAM configuration: one row, with Calico's defaults where no object sets a value.",
    (
        Column("strict_affinity", "bool", "nodes cannot borrow addresses from another node's blocks"),
        Column("auto_allocate_blocks", "bool", "nodes claim new blocks automatically"),
        Column("max_blocks_per_host", "int", "maximum blocks per node; 0: no configured limit", "blocks"),
        Column("cooldown", "int", "time before a released address is allocated again", "seconds"),
        Column("is_default", "bool", "no object exists: all values are Calico's defaults"),
        EVIDENCE,
    ),
)

RESERVATIONS = Schema(
    "ipam.reservations",
    "IP reservations: addresses that are never assigned automatically.",
    (
        Column("reservation", "str", "name"),
        Column("cidr", "str", "reserved CIDR"),
        VERSION,
        EVIDENCE,
    ),
    key=("reservation", "cidr"),
)


@table(POOLS, needs={"objects": "ippools"})
def pools(objects: Objects) -> pd.DataFrame:
    """One row a pool; see :data:`POOLS`."""
    return objects.frame(POOLS, _pool)


def _pool(item: Object) -> Object:
    body = spec(item)
    net = prefix(body["cidr"])
    bits = 32 if net.version == 4 else 128
    size = body.get("blockSize") or DEFAULT_BLOCK_SIZE[net.version]
    return {
        "pool": item["metadata"]["name"],
        "cidr": canonical_cidr(body["cidr"]),
        "version": net.version,
        "block_size": size,
        "capacity": float(net.size),
        "blocks_total": float(net.size // 2 ** (bits - size)),
        "disabled": bool(body.get("disabled", False)),
        "ipip_mode": body.get("ipipMode") or "Never",
        "vxlan_mode": body.get("vxlanMode") or "Never",
        "nat_outgoing": bool(body.get("natOutgoing", False)),
        "bgp_export": not body.get("disableBGPExport", False),
        "node_selector": body.get("nodeSelector") or "all()",
        "namespace_selector": body.get("namespaceSelector") or "all()",
        "allowed_uses": body.get("allowedUses") or ["Workload", "Tunnel"],
        "assignment_mode": body.get("assignmentMode") or "Automatic",
        "created": item["metadata"].get("creationTimestamp"),
    }


@table(RESERVATIONS, needs={"objects": "ipreservations"})
def reservations(objects: Objects) -> pd.DataFrame:
    """One row for each reserved CIDR; see :data:`RESERVATIONS`."""
    return objects.frame(
        RESERVATIONS,
        lambda item: [
            {"reservation": item["metadata"]["name"], "cidr": canonical_cidr(c), "version": prefix(c).version}
            for c in spec(item).get("reservedCIDRs") or []
        ],
    )


@table(BLOCKS, needs={"objects": "ipamblocks"}, wants={"pools": "ipam.pools", "reservations": "ipam.reservations"})
def blocks(objects: Objects, pools: pd.DataFrame | None, reservations: pd.DataFrame | None) -> pd.DataFrame:
    """One row a block; see :data:`BLOCKS`. Tombstones (``deleted``) are absent, as for Calico."""
    pool_nets = pool_prefixes(pools)
    kept_out = [prefix(c) for c in ([] if reservations is None else reservations["cidr"])]
    return objects.frame(BLOCKS, lambda item: _block(item, pool_nets, kept_out) if is_live(item) else [])


def _block(item: Object, pool_nets: list[tuple[str, Prefix]], kept_out: list[Prefix]) -> Object:
    body, meta = spec(item), item["metadata"]
    net = prefix(body["cidr"])
    if len(body["allocations"]) != net.size:
        raise ValueError(f"{len(body['allocations'])} allocations for {net.size} addresses")
    reserved = [r for r in kept_out if r.overlaps(net)]
    affinity = body.get("affinity") or body.get("hostAffinity")
    allocated, unallocated = net.size - body["allocations"].count(None), body["unallocated"]
    return {
        "block": canonical_cidr(body["cidr"]),
        "pool": pool_of(net, pool_nets),
        "version": net.version,
        "node": affinity_node(affinity),
        "affinity": affinity,
        "size": net.size,
        "allocated": allocated,
        "cooling": sum(1 for a in _attributes(body) if a is not None and "releasedAt" in a),
        "reserved": sum(1 for n in range(net.first, net.last + 1) if _within(n, reserved)) if reserved else 0,
        "free": sum(not _within(net.first + o, reserved) for o in unallocated) if reserved else len(unallocated),
        "claimed": body.get("affinityClaimTime") or meta.get("creationTimestamp"),
        "revision": meta.get("resourceVersion"),
        "structure": structure_problem(body),
    }


def is_live(item: Object) -> bool:
    """Whether an IPAM object is none that Calico regards as deleted (``deleted`` is a bool or a string)."""
    return str(spec(item).get("deleted", False)).lower() != "true"


def affinity_node(affinity: str | None) -> str | None:
    """The node in ``host:NODE``; None for no affinity and for virtual owners. The old form is the bare name."""
    kind, _, name = (affinity or "").rpartition(":")
    return name if name and kind in ("", "host") else None


def pool_prefixes(pools: pd.DataFrame | None) -> list[tuple[str, Prefix]]:
    """Pools with their prefixes, in the order of the API's list, which is the order in which Calico matches them."""
    return [] if pools is None else [(n, prefix(c)) for n, c in cells(pools, "pool", "cidr")]


def pool_of(net: Prefix, pool_nets: list[tuple[str, Prefix]]) -> str | None:
    """The first pool that the block overlaps, as calicoctl counts it; None if no pool does."""
    return next((name for name, pool in pool_nets if pool.overlaps(net)), None)


def _within(number: int, prefixes: list[Prefix]) -> bool:
    return any(p.first <= number <= p.last for p in prefixes)


def _attributes(body: Object) -> Iterator[Object | None]:
    """The attribute of each address that is not free; None where the index leads nowhere."""
    attributes = body.get("attributes") or []
    for index in body["allocations"]:
        if index is not None:
            yield attributes[index] if 0 <= index < len(attributes) else None


def structure_problem(body: Object) -> str | None:
    """The first inconsistency inside a block, None if there is none (source: calicoctl ipam check, validateBlock)."""
    indexes = {o: i for o, i in enumerate(body["allocations"]) if i is not None}
    attributes, unallocated = body.get("attributes") or [], body["unallocated"]
    size = len(body["allocations"])
    for ordinal, index in indexes.items():
        if not 0 <= index < len(attributes):
            return f"allocation {ordinal} indexes a nonexistent attribute {index}"
    unused = set(range(len(attributes))) - set(indexes.values())
    if unused:
        return f"attribute index {min(unused)} exists but is not indexed by an allocation"
    seen: set[int] = set()
    for ordinal in unallocated:
        if not 0 <= ordinal < size:
            return f"ordinal {ordinal} appears in the Unallocated array but is out of the block"
        if ordinal in seen:
            return f"ordinal {ordinal} appears more than once in Unallocated array"
        if ordinal in indexes:
            return f"ordinal {ordinal} is allocated but appears in Unallocated"
        seen.add(ordinal)
    if len(unallocated) + len(indexes) != size:
        return f"{size} addresses, but {len(unallocated)} unallocated and {len(indexes)} allocated"
    return None


@table(ADDRESSES, needs={"objects": "ipamblocks"}, wants={"pools": "ipam.pools"})
def addresses(objects: Objects, pools: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each address that is not free; see :data:`ADDRESSES`."""
    pool_nets = pool_prefixes(pools)
    return objects.frame(ADDRESSES, lambda item: _addresses(item, pool_nets) if is_live(item) else [])


def _addresses(item: Object, pool_nets: list[tuple[str, Prefix]]) -> list[Row]:
    """Tuples, as a big cluster has many: the columns of :data:`ADDRESSES` in their order."""
    body = spec(item)
    net = prefix(body["cidr"])
    block, pool = canonical_cidr(body["cidr"]), pool_of(net, pool_nets)
    block_node = affinity_node(body.get("affinity") or body.get("hostAffinity"))
    owners = [_owner(a, block_node) for a in body.get("attributes") or []]
    return [
        (
            address_text(net.version, net.first + ordinal),
            *(block, pool, net.version, ordinal),
            *(owners[index] if 0 <= index < len(owners) else _NOBODY),
        )
        for ordinal, index in enumerate(body["allocations"])
        if index is not None
    ]


_NOBODY = (None, None, None, "other", None, None, None, None, False)


def _owner(attribute: Object, block_node: str | None) -> tuple[Any, ...]:
    """From ``node`` to ``cooling``, in the order of :data:`ADDRESSES`."""
    who, handle = attribute.get("secondary") or {}, attribute.get("handle_id")
    return (
        who.get("node") or block_node,
        block_node,
        handle,
        _type(who, handle),
        who.get("namespace"),
        who.get("pod"),
        who.get("service"),
        _since(who.get("timestamp")),
        "releasedAt" in attribute,
    )


def _type(who: Object, handle: str | None) -> str:
    if handle == WINDOWS_HANDLE:
        return "windows-reserved"
    if "vmi-name" in who:
        return "vmi"
    if "pod" in who:
        return "pod"
    if "service" in who:
        return "loadBalancer"
    return str(who.get("type") or "other")


def _since(text: str | None) -> str | None:
    """``2026-11-23 20:58:27.224479403 +0000 UTC`` (Go's String) as ISO 8601."""
    if not text:
        return None
    day, clock, *zone = text.split(" ")
    return f"{day}T{clock}{zone[0] if zone else '+0000'}"


@table(AFFINITIES, needs={"objects": "blockaffinities"})
def affinities(objects: Objects) -> pd.DataFrame:
    """One row an affinity; see :data:`AFFINITIES`."""
    return objects.frame(AFFINITIES, lambda item: _affinity(item) if is_live(item) else [])


def _affinity(item: Object) -> Object:
    body = spec(item)
    return {
        "node": body["node"],
        "block": canonical_cidr(body["cidr"]),
        "state": body.get("state") or "confirmed",
        "type": body.get("type") or "host",
        "created": item["metadata"].get("creationTimestamp"),
    }


@table(HANDLES, needs={"objects": "ipamhandles"})
def handles(objects: Objects) -> pd.DataFrame:
    """One row for each handle and block; see :data:`HANDLES`."""
    return objects.frame(HANDLES, lambda item: _handle(item) if is_live(item) else [])


def _handle(item: Object) -> list[Row]:
    body = spec(item)
    handle = body.get("handleID") or item["metadata"]["name"]
    counted = body.get("block") or {}
    return [(handle, canonical_cidr(b), n) for b, n in counted.items()] or [(handle, None, 0)]


@table(CONFIG, needs={"objects": "ipamconfigs"})
def config(objects: Objects) -> pd.DataFrame:
    """One row; see :data:`CONFIG`."""
    set_ = objects.frame(CONFIG, _config)
    return set_ if len(set_) else CONFIG.frame([{**_config({}), "is_default": True, "evidence": objects.ref}])


def _config(item: Object) -> Object:
    body: dict[str, Any] = spec(item)
    return {
        "strict_affinity": bool(body.get("strictAffinity", False)),
        "auto_allocate_blocks": bool(body.get("autoAllocateBlocks", True)),
        "max_blocks_per_host": body.get("maxBlocksPerHost") or 0,
        "cooldown": body.get("ipCooldownSeconds") or 0,
        "is_default": False,
    }
