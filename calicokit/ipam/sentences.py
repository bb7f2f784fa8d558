"""Summaries of IPAM's tables, each a sentence or two that is computed and true of every source."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from calicokit.ipam.usage import DEFAULT_MAX_BLOCKS
from calicokit.schema import records
from calicokit.sentences import first_upper, listed, number, plural, says, share

NEARLY = 0.85
"""Share from which a pool counts as nearly exhausted, as in the check."""


@says
def pools(pools: pd.DataFrame) -> str:
    """Pools and who can use them (``ipam.pools``)."""
    if not len(pools):
        return "There is no IP pool: no pod can get an address from Calico's IPAM."
    off = pools[pools["disabled"]]
    manual = pools[~pools["disabled"] & (pools["assignment_mode"] != "Automatic")]
    open_ = pools[~pools["disabled"] & (pools["assignment_mode"] == "Automatic")]
    return " ".join([_open_pools(open_), *_named_only(manual), *_disabled(off)])


def _open_pools(pools: pd.DataFrame) -> str:
    if not len(pools):
        return "No pool assigns addresses automatically."
    bound = pools[(pools["node_selector"] != "all()") | (pools["namespace_selector"] != "all()")]
    whom = "to pods of every namespace on every node"
    if len(bound):
        whom = f"of these, {listed(bound['pool'])} only where a selector matches"
    gives = "assigns addresses automatically" if len(pools) == 1 else "assign addresses automatically"
    return f"{first_upper(plural(len(pools), 'pool'))} {gives}: {listed(pools['pool'])}, {whom}."


def _named_only(manual: pd.DataFrame) -> Iterator[str]:
    if len(manual):
        yield f"{listed(manual['pool'])}: only for pods that request it by name."


def _disabled(off: pd.DataFrame) -> Iterator[str]:
    if len(off):
        yield f"Disabled, no new allocations: {listed(off['pool'])}."


@says
def utilisation(utilisation: pd.DataFrame) -> str:
    """Usage of the pools (``ipam.utilisation``)."""
    enabled = utilisation[~utilisation["disabled"]]
    if not len(enabled):
        return "No pool is enabled: no pod can get an address."
    first = enabled.sort_values(["used", "pool"], ascending=[False, True]).iloc[0]
    return f"{_fullness(first, len(enabled))} {_blocks_left(first)}"


def _fullness(pool: pd.Series, pools: int) -> str:
    name = f"The fullest pool, {pool['pool']}," if pools > 1 else f"Pool {pool['pool']}"
    used = f"{number(pool['allocated'])} of {number(pool['capacity'])} addresses in use"
    if pool["free"] == 0:
        return f"{name} has no free address ({used}): the next pod that needs one from it will wait."
    state = "is nearly exhausted" if pool["used"] > NEARLY else "has free addresses"
    return f"{name} {state}: {used}, {number(pool['free'])} free."


def _blocks_left(pool: pd.Series) -> str:
    if pool["blocks_unclaimed"]:
        return f"{first_upper(plural(pool['blocks_unclaimed'], 'whole block'))} of it can still be claimed by nodes."
    empty = f"; {plural(pool['blocks_empty'], 'block')} of them are empty" if pool["blocks_empty"] else ""
    return (
        f"All its {number(pool['blocks'])} blocks have an affinity to a node{empty}: a node that needs more addresses "
        "must borrow."
    )


@says
def nodes(nodes: pd.DataFrame) -> str:
    """Usage of the nodes' own blocks (``ipam.node_utilisation``)."""
    owners = nodes[nodes["capacity"] > 0]
    if not len(owners):
        return "No node owns a block."
    full = owners[owners["free"] == 0]
    if len(full) == len(owners):
        return f"None of the {plural(owners['node'].nunique(), 'node')} has a free address in its own blocks."
    if len(full):
        rest = number(owners["free"].sum())
        return f"No free address in their own blocks: {listed(full['node'].unique())}; the others have {rest} free."
    first = owners.sort_values("used").iloc[-1]
    return f"Every node has free addresses in its own blocks; the fullest is {first['node']} ({share(first['used'])})."


@says
def block_map(cells: pd.DataFrame) -> str:
    """Addresses in the block map that are neither free nor in use by the block's node (``ipam.block_map``)."""
    counts = cells["state"].value_counts()
    odd = [s for s in ("leaked", "borrowed", "cooling", "reserved", "unknown") if counts.get(s)]
    total = plural(len(cells), "address", "addresses")
    if not odd:
        return f"All {total} of the blocks are free or in use by the block's node; nothing to look at."
    named = "; ".join(f"{s}: {listed(cells[cells['state'] == s]['address'], 5)}" for s in odd)
    return f"Of {total}, check these. {first_upper(named)}."


@says
def borrowed(borrowed: pd.DataFrame, config: pd.DataFrame) -> str:
    """Nodes that borrow addresses, and whether that is allowed (``ipam.borrowed``, ``ipam.config``)."""
    strict = bool(config["strict_affinity"].iloc[0])
    allowed = "strictAffinity is on, which forbids it" if strict else "Borrowing is allowed: strictAffinity is off"
    if not len(borrowed):
        return f"No node borrows. {allowed}."
    nodes = borrowed["node"].nunique()
    text = f"{listed(borrowed['node'].unique())} borrow{'s' if nodes == 1 else ''} "
    text += f"{plural(len(borrowed), 'address', 'addresses')} of other nodes' blocks."
    return f"{text} strictAffinity is on, so they predate it." if strict else f"{text} This is normal."


@says
def leaked(allocations: pd.DataFrame) -> str:
    """Allocated addresses that are not in use (``ipam.allocations``)."""
    lost, dim = (allocations[allocations["state"] == s] for s in ("leaked", "unknown"))
    doubt = f" Of {plural(len(dim), 'other address', 'other addresses')} the state is unknown." if len(dim) else ""
    total = plural(len(allocations), "allocated address", "allocated addresses")
    if not len(lost):
        return f"None of the {total} is known to be leaked.{doubt}" if len(dim) else f"None is leaked, of {total}."
    by_why = "; ".join(f"{n} × {w}" for w, n in lost["why"].value_counts().sort_index().items())
    return f"{len(lost):,} of {total} {'is' if len(lost) == 1 else 'are'} leaked ({by_why}).{doubt}"


@says
def conflicts(duplicates: pd.DataFrame, unallocated: pd.DataFrame) -> str:
    """Addresses with several users, and addresses in use but not allocated in IPAM (``ipam.duplicates``,
    ``ipam.unallocated``)."""
    if not len(duplicates) and not len(unallocated):
        return "No duplicate addresses, and every address in use inside a pool is allocated in IPAM."
    said = [
        f"{r.address} is used by {listed(r.owners)}; IPAM allocated it to {_or_nobody(r.allocated_to)}. Connections "
        "to it reach one or the other."
        for r in records(duplicates.head(3))
    ]
    if len(duplicates) > 3:
        said.append(f"{len(duplicates) - 3:,} more addresses have several users.")
    if len(unallocated):
        said.append(
            f"In use but not allocated in IPAM, so that another pod can get them: {listed(unallocated['address'])}."
        )
    return " ".join(said)


def _or_nobody(owner: object) -> str:
    return owner if isinstance(owner, str) else "nobody"


@says
def integrity(blocks: pd.DataFrame, handles: pd.DataFrame, affinities: pd.DataFrame) -> str:
    """Whether IPAM's objects are consistent (``ipam.block_problems``, ``ipam.handle_problems``,
    ``ipam.stale_affinities``)."""
    found = [
        (len(blocks), "block", "invalid"),
        (int((handles["problem"] == "orphan").sum()), "handle", "without an allocation"),
        (int((handles["problem"] == "missing").sum()), "handle", "referenced by allocations but missing"),
        (len(affinities), "block", "stale (node removed, or claim or release stuck)"),
    ]
    wrong = [f"{plural(n, noun)} {what}" for n, noun, what in found if n]
    return f"Inconsistent: {'; '.join(wrong)}." if wrong else "Blocks, handles and affinities are consistent."


PROBLEMS = (
    "allocated_not_in_use",
    "in_use_not_in_pool",
    "in_use_not_allocated",
    "handles_without_ips",
    "handles_missing",
    "invalid_blocks",
)


@says
def check_report(report: pd.DataFrame) -> str:
    """Problems that ``calicoctl ipam check`` would report (``ipam.check_report``)."""
    total = report[report["figure"] == "problems"]["value"].sum()
    said = f"calicoctl would print: Check complete; found {total} problems."
    problems = report[report["figure"].isin(PROBLEMS) & (report["value"] > 0)]
    named = "; ".join(f"{number(r.value)} {r.meaning}" for r in records(problems))
    return f"{said} {f'They are: {named}. ' if named else ''}It does not count duplicate and borrowed addresses."


@says
def limits(config: pd.DataFrame, nodes: pd.DataFrame) -> str:
    """Limits of a node, and how close the nodes are to them (``ipam.config``, ``ipam.node_utilisation``)."""
    row = config.iloc[0]
    strict = "strictAffinity is on: a node whose blocks are full cannot borrow."
    lax = "strictAffinity is off: a node without a free block can borrow from other nodes' blocks."
    limit = int(row["max_blocks_per_host"]) or DEFAULT_MAX_BLOCKS
    whose = "maxBlocksPerHost" if row["max_blocks_per_host"] else "Calico's default"
    text = f"{strict if row['strict_affinity'] else lax} A node can own at most {plural(limit, 'block')} ({whose})"
    at_limit = nodes[nodes["blocks"] >= limit]
    if len(at_limit):
        return f"{text}; at that limit, and unable even to borrow: {listed(at_limit['node'].unique())}."
    most = nodes.sort_values("blocks").tail(1)
    owns = "".join(f"; none owns more than {r.blocks}" for r in records(most))
    return f"{text}{owns}."


@says
def waiting(waiting: pd.DataFrame) -> str:
    """Pods that wait for an address, and why (``ipam.waiting``)."""
    if not len(waiting):
        return "No pod waits for an address."
    causes = waiting["cause"].fillna("no error seen").value_counts().sort_index()
    why = "; ".join(f"{c} ({n})" for c, n in causes.items())
    noun = f"{plural(len(waiting), 'pod waits', 'pods wait')} for an address"
    longest = waiting["seconds"].max()
    since = "" if pd.isna(longest) else f", the longest for {_span(float(longest))}"
    stuck = waiting[waiting["free"] == 0]
    whom = "them" if len(stuck) == len(waiting) else f"{len(stuck):,} of them"
    full = f" Every pool usable for {whom} is exhausted." if len(stuck) else ""
    return f"{noun}{since}. CNI plugin error: {why}.{full}"


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds"


@says
def selection(node_pools: pd.DataFrame, pod_pools: pd.DataFrame) -> str:
    """Whether every node and pod has a usable pool (``ipam.node_pools``, ``ipam.pod_pools``)."""
    nodes = _without(node_pools, ["node"])
    pods = _without(pod_pools, ["namespace", "pod"])
    by_name = pod_pools[pod_pools["asked_by"] != "selectors"].groupby(["namespace", "pod"]).ngroups
    asked = f" {first_upper(plural(by_name, 'pod'))} requested pools by name." if by_name else ""
    if not nodes and not pods:
        return f"Every node and every pod has a usable pool.{asked}"
    left_out = [
        f"no pool is usable for {what} {listed(names)}" for what, names in (("node", nodes), ("pod", pods)) if names
    ]
    return f"{first_upper('; '.join(left_out))}.{asked}"


def _without(choices: pd.DataFrame, key: list[str]) -> list[str]:
    usable = choices.groupby(key)["usable"].any()
    left = usable[~usable.astype(bool)].index
    return ["/".join(name) if isinstance(name, tuple) else str(name) for name in left]


@says
def forecast(forecast: pd.DataFrame) -> str:
    """When the pools will be exhausted, or what a forecast needs (``ipam.forecast``)."""
    if not len(forecast):
        return "There is no pool to forecast."
    ends = forecast[forecast["days_left"].notna()].sort_values("days_left")
    if len(ends):
        first = ends.iloc[0]
        when = "" if pd.isna(first["full_at"]) else f", on {first['full_at']:%Y-%m-%d %H:%M} UTC"
        return (
            f"At the growth of the last {_span(first['span'] * 86_400)}, {first['pool']} is exhausted in "
            f"{_span(first['days_left'] * 86_400)}{when} ({first['per_day']:.3g} addresses a day)."
        )
    reasons = sorted(set(forecast["why"].dropna()))
    return f"No forecast: {'; '.join(reasons)}."


@says
def release_plan(plan: pd.DataFrame) -> str:
    """What the release plan would release (``ipam.release_plan``)."""
    if not len(plan):
        return "Nothing to release: no address is certainly leaked."
    addresses = plan["addresses"].iloc[0]
    count = plural(len(addresses), "address", "addresses")
    return f"It would release {count}: {listed(addresses, 5)}. The kit does not run it."
