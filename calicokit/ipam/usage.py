"""Utilisation of pools and nodes, fragmentation, borrowing, the map of a block, and the forecast of exhaustion.

All functions are pure: tables in, tables out. Facts: libcalico-go/lib/ipam/ipam.go and ipam_block.go, HEAD.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from calicokit.evidence.model import Evidence
from calicokit.evidence.objects import OddShapeError, decode_list
from calicokit.evidence.texts import Texts
from calicokit.ipam import tables as base
from calicokit.ipam.tables import BLOCK, POOL, VERSION
from calicokit.net import Prefix, address_text, gaps, measure, merge, prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, among, cells, records

DEFAULT_MAX_BLOCKS = 20
"""A node's limit of blocks where maxBlocksPerHost is 0 (source: libcalico-go/lib/ipam/ipam.go)."""

UTILISATION = Schema(
    "ipam.utilisation",
    "Usage of each pool: the figures of `calicoctl ipam show` and more.",
    (
        POOL,
        Column("cidr", "str", "CIDR of the pool"),
        VERSION,
        Column("disabled", "bool", "no new addresses are allocated from it"),
        Column("capacity", "float", "addresses in the pool; calicoctl's IPS TOTAL", "addresses"),
        Column("allocated", "int", "addresses not free; calicoctl's IPS IN USE", "addresses"),
        Column("cooling", "int", "of those, released and in cooldown", "addresses"),
        Column("reserved", "float", "addresses covered by an IPReservation; calicoctl's IPS RESERVED", "addresses"),
        Column("free", "float", "addresses free to allocate; calicoctl's IPS FREE", "addresses"),
        Column("used", "float", "share of the usable addresses that is in use", "0 to 1"),
        Column("blocks", "int", "blocks allocated from it", "blocks"),
        Column("blocks_unclaimed", "float", "whole blocks not allocated yet and not fully reserved", "blocks"),
        Column("blocks_empty", "int", "allocated blocks without any address in use", "blocks"),
        Column("blocks_full", "int", "allocated blocks without a free address", "blocks"),
        Column("free_in_blocks", "int", "free addresses inside allocated blocks", "addresses"),
        Column("fill", "float", "share of the addresses in blocks that is in use; low means fragmentation", "0 to 1"),
        Column("borrowed", "int", "addresses in use by a node other than the block's", "addresses"),
    ),
    key=("pool",),
)

NODE_UTILISATION = Schema(
    "ipam.node_utilisation",
    "IPAM usage per node: blocks owned, block limit, addresses used, lent and borrowed.",
    (
        Column("node", "str", "node"),
        VERSION,
        Column("blocks", "int", "blocks it owns", "blocks"),
        Column("block_limit", "int", "maximum blocks it can own: maxBlocksPerHost, else Calico's 20", "blocks"),
        Column("capacity", "int", "addresses in its blocks", "addresses"),
        Column("allocated", "int", "addresses allocated in its blocks, to any node", "addresses"),
        Column("free", "int", "free addresses in its blocks", "addresses"),
        Column("lent", "int", "addresses of its blocks used by other nodes", "addresses"),
        Column("borrowed", "int", "addresses it uses from other nodes' blocks", "addresses"),
        Column("in_use", "int", "addresses it uses, its own and borrowed", "addresses"),
        Column("used", "float", "share of its blocks' addresses that is allocated", "0 to 1"),
    ),
    key=("node", "version"),
)

BORROWED = Schema(
    "ipam.borrowed",
    "Borrowed addresses: used by a node that does not own the block; as `calicoctl ipam show --show-borrowed`.",
    (
        Column("address", "str", "address"),
        Column("node", "str", "node that uses it"),
        BLOCK,
        Column("block_node", "str", "node that owns the block; null if none does"),
        Column("type", "str", "as in ipam.addresses"),
        Column("namespace", "str", "namespace of its owner"),
        Column("pod", "str", "pod that has it"),
    ),
    key=("address",),
)

BLOCK_MAP = Schema(
    "ipam.block_map",
    "Every address of every block with its state, including free ones.",
    (
        POOL,
        BLOCK,
        VERSION,
        Column("node", "str", "node that owns the block"),
        Column("ordinal", "int", "0-based offset in the block"),
        Column("address", "str", "address"),
        Column("state", "str", "free, reserved, in-use, borrowed, leaked, cooling or unknown"),
        Column("owner", "str", "owner of the address"),
        Column("why", "str", "reason for the state"),
    ),
    key=("block", "ordinal"),
)

HISTORY = Schema(
    "ipam.history",
    "Usage of each pool over time: the samples of a series and the final snapshot.",
    (
        Column("time", "time", "when it was seen"),
        POOL,
        Column("allocated", "int", "addresses not free", "addresses"),
        Column("available", "float", "allocatable addresses: capacity less reservations", "addresses"),
    ),
    key=("time", "pool"),
)

FORECAST = Schema(
    "ipam.forecast",
    "When each pool will be exhausted at the observed growth.",
    (
        POOL,
        Column("samples", "int", "number of samples used", "samples"),
        Column("span", "float", "time between the first and the last", "days"),
        Column("allocated", "int", "addresses not free at the last sample", "addresses"),
        Column("available", "float", "allocatable addresses", "addresses"),
        Column(
            "per_day",
            "float",
            "growth per day: median slope between all pairs of samples (Theil-Sen)",
            "addresses a day",
        ),
        Column("days_left", "float", "days until exhaustion; null where usage does not grow", "days"),
        Column("full_at", "time", "time of exhaustion"),
        Column("why", "str", "why there is no forecast; null where there is one"),
    ),
    key=("pool",),
)


@table(
    UTILISATION,
    needs={"pools": "ipam.pools", "blocks": "ipam.blocks"},
    wants={"addresses": "ipam.addresses", "reservations": "ipam.reservations"},
)
def utilisation(
    pools: pd.DataFrame,
    blocks: pd.DataFrame,
    addresses: pd.DataFrame | None = None,
    reservations: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a pool; see :data:`UTILISATION`. ``reserved`` and ``borrowed`` are null where they are unknown."""
    kept_out = merge(prefix(c) for c in ([] if reservations is None else reservations["cidr"]))
    lent = None if addresses is None else borrowed(addresses, blocks).merge(blocks[["block", "pool"]], on="block")
    rows = []
    for pool in records(pools):
        own = blocks[blocks["pool"] == pool.pool]
        row = _pool_space(prefix(str(pool.cidr)), int(pool.block_size), own, kept_out)
        row |= {"pool": pool.pool, "cidr": pool.cidr, "version": pool.version, "disabled": pool.disabled}
        row["borrowed"] = None if lent is None else int((lent["pool"] == pool.pool).sum())
        rows.append(row if reservations is not None else {**row, "reserved": None})
    return UTILISATION.frame(rows)


def _pool_space(
    net: Prefix, block_size: int, own: pd.DataFrame, kept_out: list[Prefix]
) -> dict[str, float | int | None]:
    carved = merge(prefix(b) for b in own["block"])
    outside = gaps(net, carved)
    free_outside = sum(p.size - measure(p, kept_out) for p in outside)
    block_addresses = 2 ** ((32 if net.version == 4 else 128) - block_size)
    allocated, free_in_blocks = int(own["allocated"].sum()), int(own["free"].sum())
    free = float(free_in_blocks + free_outside)
    available = allocated - int(own["cooling"].sum()) + free
    return {
        "capacity": float(net.size),
        "allocated": allocated,
        "cooling": int(own["cooling"].sum()),
        "reserved": float(measure(net, kept_out)),
        "free": free,
        "used": (allocated - int(own["cooling"].sum())) / available if available else 1.0,
        "blocks": len(own),
        "blocks_unclaimed": float(_unclaimed(outside, block_addresses, kept_out)),
        "blocks_empty": int((own["allocated"] == 0).sum()),
        "blocks_full": int((own["free"] == 0).sum()),
        "free_in_blocks": free_in_blocks,
        "fill": allocated / float(own["size"].sum()) if len(own) else None,
    }


def _unclaimed(outside: list[Prefix], size: int, kept_out: list[Prefix]) -> int:
    """Whole, aligned blocks in the space outside the carved ones, without those that reservations cover entirely."""
    whole = [(-(-p.first // size), (p.last + 1) // size) for p in outside]
    covered = [(-(-k.first // size), (k.last + 1) // size) for k in kept_out]
    count = sum(max(0, end - start) for start, end in whole)
    lost = sum(max(0, min(end, e) - max(start, s)) for start, end in whole for s, e in covered)
    return count - lost


@table(BORROWED, needs={"addresses": "ipam.addresses", "blocks": "ipam.blocks"})
def borrowed(addresses: pd.DataFrame, blocks: pd.DataFrame) -> pd.DataFrame:
    """One row for each address in use by another node than its block's; see :data:`BORROWED`."""
    lent = addresses[
        addresses["node"].notna() & ~addresses["cooling"] & (addresses["node"] != addresses["block_node"].fillna(""))
    ]
    virtual = blocks[blocks["affinity"].fillna("").str.startswith("virtual:")]["block"]
    lent = lent[~among(lent["block"], virtual)]
    return BORROWED.take(lent)


@table(
    NODE_UTILISATION, needs={"blocks": "ipam.blocks", "addresses": "ipam.addresses"}, wants={"config": "ipam.config"}
)
def node_utilisation(blocks: pd.DataFrame, addresses: pd.DataFrame, config: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each node and IP version that owns a block or uses an address; see :data:`NODE_UTILISATION`."""
    by = ["node", "version"]
    owned = blocks[blocks["node"].notna()].groupby(by)
    sums = owned[["size", "allocated", "free"]].sum().rename(columns={"size": "capacity"})
    used = addresses[addresses["node"].notna() & ~addresses["cooling"]]
    foreign = used[used["node"] != used["block_node"].fillna("")]
    lent = foreign[foreign["block_node"].notna()].groupby(["block_node", "version"]).size().rename_axis(by)
    parts = {
        "blocks": owned.size(),
        "lent": lent,
        "borrowed": foreign.groupby(by).size(),
        "in_use": used.groupby(by).size(),
    }
    frame = sums.join(pd.DataFrame({k: v.astype("Int64") for k, v in parts.items()}), how="outer").fillna(0)
    frame = frame.reset_index().sort_values(by)
    limit = 0 if config is None else int(config["max_blocks_per_host"].iloc[0])
    shares = [a / c if c else None for a, c in cells(frame, "allocated", "capacity")]
    columns = {c: frame[c].tolist() for c in frame.columns}
    return NODE_UTILISATION.frame(
        {**columns, "block_limit": [limit or DEFAULT_MAX_BLOCKS] * len(frame), "used": shares}
    )


@table(
    BLOCK_MAP,
    needs={"blocks": "ipam.blocks", "allocations": "ipam.allocations"},
    wants={"reservations": "ipam.reservations"},
)
def block_map(
    blocks: pd.DataFrame, allocations: pd.DataFrame, reservations: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each address of each block; see :data:`BLOCK_MAP`."""
    ordinals = np.concatenate([np.arange(n) for n in blocks["size"]]) if len(blocks) else np.array([], dtype=int)
    every = blocks.loc[blocks.index.repeat(blocks["size"].astype(int)), ["pool", "block", "version", "node"]]
    every = every.assign(ordinal=pd.array(ordinals, dtype="Int64")).reset_index(drop=True)
    known = allocations.assign(state=allocations["state"].where(~_is_borrowed(allocations), "borrowed"))
    every = every.merge(known[["block", "ordinal", "state", "owner", "why"]], on=["block", "ordinal"], how="left")
    first = {b: prefix(b) for b in blocks["block"]}
    numbers = [first[b].first + int(o) for b, o in cells(every, "block", "ordinal")]
    every["address"] = [address_text(int(v), n) for v, n in zip(every["version"].tolist(), numbers, strict=True)]
    free = every["state"].isna()
    every.loc[free, "state"] = "free"
    kept_out = merge(prefix(c) for c in ([] if reservations is None else reservations["cidr"]))
    if kept_out:
        within = [
            any(k.version == v and k.first <= n <= k.last for k in kept_out)
            for v, n in zip(every["version"].tolist(), numbers, strict=True)
        ]
        every.loc[free & np.array(within, dtype=bool), "state"] = "reserved"
    return BLOCK_MAP.take(every)


def _is_borrowed(allocations: pd.DataFrame) -> pd.Series[bool]:
    return (allocations["state"] == "in-use") & allocations["borrowed"].astype(bool)


@table(
    HISTORY,
    needs={"pools": "ipam.pools", "utilisation": "ipam.utilisation", "now": "@now"},
    wants={"samples": "ipamblocks+series"},
)
def history(
    pools: pd.DataFrame, utilisation: pd.DataFrame, now: pd.Timestamp, samples: Texts | None = None
) -> pd.DataFrame:
    """One row for each pool and time; see :data:`HISTORY`. Two recordings' histories may be concatenated."""
    available = utilisation.set_index("pool")["capacity"] - utilisation.set_index("pool")["reserved"].fillna(0)
    frames = [
        _sample(e.time, base.blocks(decode_list(e), pools, None), available) for e in samples or [] if _readable(e)
    ]
    last = utilisation.assign(time=now, available=available.to_numpy())[HISTORY.names]
    every = pd.concat([*frames, last]).sort_values(["pool", "time"])
    return HISTORY.take(every)


def _readable(sample: Evidence) -> bool:
    try:
        return sample.time is not None and bool(decode_list(sample))
    except OddShapeError:
        return False


def _sample(time: object, blocks: pd.DataFrame, available: pd.Series[float]) -> pd.DataFrame:
    used = blocks.groupby("pool")["allocated"].sum().reindex(available.index, fill_value=0)
    return pd.DataFrame({"time": time, "pool": used.index, "allocated": used.array, "available": available.array})


@table(FORECAST, needs={"history": "ipam.history"})
def forecast(history: pd.DataFrame) -> pd.DataFrame:
    """One row a pool; see :data:`FORECAST`.

    From two recordings: ``forecast(pd.concat([a.ipam.history(), b.ipam.history()]))``.
    """
    return FORECAST.frame([_forecast(str(pool), rows.sort_values("time")) for pool, rows in history.groupby("pool")])


def _forecast(pool: str, rows: pd.DataFrame) -> dict[str, object]:
    days = (rows["time"] - rows["time"].iloc[0]).dt.total_seconds().to_numpy() / 86_400
    used, last = rows["allocated"].to_numpy(dtype=float), rows.iloc[-1]
    row = {"pool": pool, "samples": len(rows), "span": float(days[-1]), "allocated": last["allocated"]}
    row["available"] = last["available"]
    steps, rises = np.subtract.outer(days, days), np.subtract.outer(used, used)
    if not (steps > 0).any():
        return {**row, "why": "one sample gives no trend; take a series or a second recording"}
    row["per_day"] = float(np.median(rises[steps > 0] / steps[steps > 0]))
    if row["per_day"] <= 0:
        return {**row, "why": "usage does not grow"}
    row["days_left"] = max(0.0, (float(last["available"]) - used[-1]) / row["per_day"])
    try:
        return {**row, "full_at": last["time"] + pd.Timedelta(days=row["days_left"])}
    except (OverflowError, pd.errors.OutOfBoundsTimedelta, pd.errors.OutOfBoundsDatetime):
        return {**row, "why": "beyond the range of dates"}


def days_left(samples: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The forecast from several recordings' ``ipam.history``; see :data:`FORECAST`."""
    every: pd.DataFrame = forecast(pd.concat(list(samples)).drop_duplicates(["time", "pool"]))
    return every
