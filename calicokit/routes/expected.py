"""What each node should have in its kernel for every block, and what it has.

Who programs what differs by version: BIRD the routes of pools without encapsulation, and of IPIP until v3.32; Felix
those of VXLAN, and of IPIP since v3.33 (source: felix/dataplane/linux, confd's templates). Which of them did is shown,
not demanded. IPv6 has its own addresses of nodes and tunnels, its next hop may be a link-local address, and no IPIP.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from calicokit.registry import table
from calicokit.schema import Column, Schema, cells

OWN, REMOTE, BORROWED = "own", "remote", "borrowed"
FRESH = 20
"""Seconds in which a borrowed address may not have reached all nodes."""

NEVER, CROSS = "Never", "CrossSubnet"

BLOCKS = Schema(
    "routes.blocks",
    "Routes that each node should have for every block, and whether its kernel and BIRD have them.",
    (
        Column("node", "category", "node that should have the route"),
        Column("cidr", "category", "block or borrowed address"),
        Column("version", "int", "4 or 6"),
        Column(
            "kind",
            "category",
            "own: the node's own block (blackhole); remote: another node's block; borrowed: address of a pod on a "
            "node that does not own the block",
        ),
        Column("owner", "category", "node that owns the block or runs the pod"),
        Column("pool", "category", "IP pool"),
        Column("mode", "category", "encapsulation between these two nodes: none, vxlan or ipip"),
        Column("via", "category", "expected gateway: the other node, or its tunnel address; null: unknown"),
        Column("status", "category", "present, different (other gateway or device), missing; null: routes not seen"),
        Column("kernel_via", "category", "gateway in the kernel"),
        Column("kernel_interface", "category", "device in the kernel"),
        Column("programmed_by", "category", "bird, felix or other"),
        Column("in_bird", "bool", "BIRD on the node has the prefix; null: not seen"),
        Column("sync_error", "bool", "BIRD could not install it in the kernel; null: not seen"),
    ),
    key=("node", "cidr"),
)


@table(
    BLOCKS,
    needs={"blocks": "ipam.blocks", "pools": "ipam.pools", "nodes": "bgp.nodes", "tunnels": "kube.tunnels"},
    wants={
        "kernel": "routes.kernel",
        "routes": "routes.bird",
        "allocations": "ipam.allocations",
    },
)
def blocks(
    blocks: pd.DataFrame,
    pools: pd.DataFrame,
    nodes: pd.DataFrame,
    tunnels: pd.DataFrame,
    kernel: pd.DataFrame | None = None,
    routes: pd.DataFrame | None = None,
    allocations: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node and block, and each borrowed address; see :data:`BLOCKS`."""
    lent = blocks.iloc[:0] if allocations is None else _lent(allocations)
    lent = lent[~lent["block"].isin(set(blocks["block"]))]
    found = [_of_version(v, blocks, lent, pools, nodes, tunnels, kernel, routes) for v in (4, 6)]
    return found[0] if not len(found[1]) else BLOCKS.take(pd.concat(_same_categories(found), ignore_index=True))


def _of_version(
    version: int,
    blocks: pd.DataFrame,
    lent: pd.DataFrame,
    pools: pd.DataFrame,
    nodes: pd.DataFrame,
    tunnels: pd.DataFrame,
    kernel: pd.DataFrame | None,
    routes: pd.DataFrame | None,
) -> pd.DataFrame:
    own = nodes if version == 4 else nodes.assign(address=nodes["address6"], network=nodes["network6"])
    held, given = (frame[frame["version"] == version] for frame in (blocks, lent))
    wanted = _wanted(version, held, given, pools, own, tunnels)
    seen, told = (None if f is None else f[f["version"] == version] for f in (kernel, routes))
    return BLOCKS.take(_with_bird(_with_kernel(wanted, seen), told))


def _same_categories(frames: list[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Categories that are the same in all frames stay categories when these are put together."""
    names = [c.name for c in BLOCKS.columns if c.kind == "category"]
    every = {n: union_categoricals([f[n].array for f in frames]).categories for n in names}
    yield from (f.assign(**{n: f[n].cat.set_categories(every[n]) for n in names}) for f in frames)


def _lent(allocations: pd.DataFrame) -> pd.DataFrame:
    """Borrowed addresses of pods, in the form of blocks of one address; those just given are left out."""
    rows = allocations[
        allocations["borrowed"].astype(bool)
        & (allocations["state"] == "in-use")
        & (allocations["type"] == "pod")
        & ~(allocations["age"] < FRESH)
    ]
    length = rows["version"].map({4: "/32", 6: "/128"})
    return rows.assign(block=rows["address"] + length)[["block", "node", "pool", "version"]].drop_duplicates("block")


def _wanted(
    version: int,
    blocks: pd.DataFrame,
    lent: pd.DataFrame,
    pools: pd.DataFrame,
    nodes: pd.DataFrame,
    tunnels: pd.DataFrame,
) -> pd.DataFrame:
    """Every node with every block of a family that has an owner; numbers first, names at the end."""
    blocks = pd.concat([blocks[["block", "node", "pool", "version"]], lent], ignore_index=True)
    linux = nodes[nodes["address"].notna() & (nodes["system"] != "windows")].reset_index(drop=True)
    known = {n: i for i, n in enumerate(linux["node"])}
    modes = {p: (i, v) for p, i, v in cells(pools, "pool", "ipip_mode", "vxlan_mode")}
    own = blocks[blocks["node"].isin(list(known)) & blocks["pool"].isin(list(modes))]
    own = own.reset_index(drop=True)
    count, many = len(linux), len(own)
    at = np.repeat(np.arange(count), many)
    of = np.tile(np.array([known[n] for n in own["node"]], dtype=np.int64), count)
    block = np.tile(np.arange(many), count)
    addresses, networks, masks = _numbers(linux, version)
    near = np.asarray((addresses[of] & masks[at]) == networks[at], dtype=bool)
    ipip = np.array([modes[p][0] for p in own["pool"]], dtype=object)[block] if many else np.array([], dtype=object)
    vxlan = np.array([modes[p][1] for p in own["pool"]], dtype=object)[block] if many else np.array([], dtype=object)
    borrowed = own["block"].isin(set(lent["block"])).to_numpy(dtype=bool)[block] if many else np.array([], dtype=bool)
    kind = np.where(at == of, 0, np.where(borrowed, 2, 1))
    mode = np.select([_goes(vxlan, near), _goes(ipip, near)], [1, 2], 0)
    names, plain = linux["node"].tolist(), linux["address"].tolist()
    by_tunnel = {n: a for n, t, a in cells(tunnels, "node", "type", "address") if t == VTEPS[version]}
    vteps = [by_tunnel.get(n) for n in names]
    gateways = plain + vteps
    via = np.where(kind == 0, -1, np.where(mode == 1, of + count, of))
    missing = np.array([g is None for g in gateways] or [True])
    via = np.where(via >= 0, np.where(missing[via], -1, via), -1)
    frame = pd.DataFrame(
        {
            "node": _categories(at, names),
            "cidr": _categories(block, own["block"].tolist()),
            "version": np.full(len(at), version),
            "kind": _categories(kind, [OWN, REMOTE, BORROWED]),
            "owner": _categories(of, names),
            "pool": _categories(block, own["pool"].tolist()),
            "mode": _categories(mode, ["none", "vxlan", "ipip"]),
            "via": _categories(via, gateways),
            "near": near,
        }
    )
    # A block of one address is no blackhole, as that would hide its pod; a borrowed address is a pod's route at home.
    whole = f"/{BITS[version]}"
    single = (kind == 0) & np.array([c.endswith(whole) for c in own["block"]], dtype=bool)[block] if many else kind == 0
    return frame[~single].reset_index(drop=True) if single.any() else frame


BITS = {4: 32, 6: 128}
VTEPS = {4: "vxlanTunnelAddress", 6: "vxlanV6TunnelAddress"}
"""Family → the ``type`` of a node's VXLAN address in ``kube.tunnels``."""


def _numbers(nodes: pd.DataFrame, version: int) -> tuple[Any, Any, Any]:
    """Addresses, networks and masks as numbers; a node without a known network is its own."""
    addresses, networks, masks = [], [], []
    bits, kind = BITS[version], np.int64 if version == 4 else object  # numpy has no numbers of 128 bits
    for address, network in cells(nodes, "address", "network"):
        own = int(ipaddress.ip_address(address))
        text = str(network).rpartition("/")[2] if isinstance(network, str) and "/" in str(network) else str(bits)
        mask = (1 << bits) - (1 << (bits - int(text)))
        addresses.append(own)
        networks.append(own & mask)
        masks.append(mask)
    return np.array(addresses, kind), np.array(networks, kind), np.array(masks, kind)


def _goes(mode: Any, near: Any) -> Any:
    """Where a pool's setting encapsulates between two nodes."""
    always = np.array([m not in (NEVER, CROSS, None) and m == m for m in mode], dtype=bool)
    cross = np.array([m == CROSS for m in mode], dtype=bool)
    return always | (cross & ~near)


def _categories(codes: Any, names: list[Any]) -> Any:
    """Numbers of names as text of few values; equal names are one, no name is null."""
    unique = sorted({n for n in names if isinstance(n, str)})
    place = {n: i for i, n in enumerate(unique)}
    table = np.array([place.get(n, -1) if isinstance(n, str) else -1 for n in names] + [-1], dtype=np.int64)
    return pd.Categorical.from_codes(table[codes], categories=pd.Index(unique))


def _with_kernel(wanted: pd.DataFrame, kernel: pd.DataFrame | None) -> pd.DataFrame:
    """The kernel's own route to exactly this destination: a tunnel's table before main, the lowest metric first."""
    if kernel is None:
        return wanted.assign(status=None, kernel_via=None, kernel_interface=None, programmed_by=None).astype(
            dict.fromkeys(("status", "kernel_via", "kernel_interface", "programmed_by"), "category")
        )
    seen = set(kernel["node"])
    best = kernel[kernel["cidr"].isin(wanted["cidr"].cat.categories)].copy()
    best["rank"] = np.where(best["owner"].isin(["bird", "felix"]), 0, 1)
    best["cost"] = best["metric"].fillna(0)
    best = best.sort_values(["rank", "cost"], kind="stable").drop_duplicates(["node", "cidr"])
    best = best[best["node"].isin(wanted["node"].cat.categories)]
    for name in ("node", "cidr"):
        best[name] = pd.Categorical(best[name], categories=wanted[name].cat.categories)
    best = best[["node", "cidr", "type", "via", "interface", "tunnel", "owner"]].rename(
        columns={"via": "kernel_via", "interface": "kernel_interface", "owner": "programmed_by"}
    )
    found = wanted.merge(best, on=["node", "cidr"], how="left")
    fits = pd.Series(_fits(found), index=found.index)
    status = pd.Series(np.select([found["type"].isna(), fits], ["missing", "present"], "different"), index=found.index)
    found["status"] = status.where(found["node"].astype("str").isin(seen))
    for name in ("status", "kernel_via", "kernel_interface", "programmed_by"):
        found[name] = found[name].astype("category")
    return found


def _fits(found: pd.DataFrame) -> Any:
    """Whether the kernel's route leads where it should; WireGuard may carry any mode."""
    own = (found["kind"] == OWN).to_numpy()
    hole = found["type"].isin(["blackhole", "unreachable", "prohibit"]).to_numpy()
    tunnel = found["tunnel"].astype(object).to_numpy()
    mode = found["mode"].astype(object).to_numpy()
    via, expected = found["kernel_via"].astype(object).to_numpy(), found["via"].astype(object).to_numpy()
    local = np.array([isinstance(v, str) and v.startswith("fe80:") for v in via], dtype=bool)  # BGP's own next hop
    same = (via == expected) | local
    unknown = pd.isna(found["via"]).to_numpy()
    routed = (mode == "none") & pd.isna(found["tunnel"]).to_numpy() & (same | ~found["near"].to_numpy())
    tunnelled = (tunnel == mode) & (same | unknown)
    return np.where(own, hole, ~hole & (routed | tunnelled | (tunnel == "wireguard")))


def _with_bird(found: pd.DataFrame, routes: pd.DataFrame | None) -> pd.DataFrame:
    if routes is None:
        return found.assign(in_bird=None, sync_error=None).astype({"in_bird": "boolean", "sync_error": "boolean"})
    heard = set(routes["node"])
    bad = routes.groupby(["node", "prefix"], observed=True)["sync_error"].max().reset_index()
    for name, other in (("node", "node"), ("cidr", "prefix")):
        bad = bad[bad[other].isin(found[name].cat.categories)]
        bad = bad.assign(**{name: pd.Categorical(bad[other], categories=found[name].cat.categories)})
    bad = bad[["node", "cidr", "sync_error"]]
    merged = found.merge(bad, on=["node", "cidr"], how="left")
    asked = merged["node"].astype("str").isin(heard)
    merged["in_bird"] = merged["sync_error"].notna().astype("boolean").where(asked)
    merged["sync_error"] = merged["sync_error"].astype("boolean")
    return merged
