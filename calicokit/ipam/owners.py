"""Who uses which address, against what the blocks record: in use, leaked, shared by two, used without allocation.

A pod that is being deleted, has ended, or has not reported its address yet is no evidence against its allocation.
Facts: calicoctl/calicoctl/commands/ipam/check.go; kube-controllers/pkg/controllers/node/ipam.go and ipam_allocation.go
(garbage collection), HEAD.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from calicokit.evidence.objects import spec
from calicokit.ipam.tables import ADDRESSES, BLOCK, POOL, pool_prefixes
from calicokit.net import prefix
from calicokit.registry import table
from calicokit.schema import Column, Schema, among, cells, records

YOUNG = pd.Timedelta(seconds=60)
"""An allocation younger than this may belong to a pod that is just coming or going."""

USED_BY_ANOTHER = "used by another owner than IPAM's"

TUNNEL_TYPES = (
    "vxlanTunnelAddress",
    "vxlanV6TunnelAddress",
    "ipipTunnelAddress",
    "wireguardTunnelAddress",
    "wireguardV6TunnelAddress",
)

OWNER = Column("owner", "str", "NS/POD, NS/SERVICE, or the node of a tunnel address")

ALLOCATIONS = Schema(
    "ipam.allocations",
    "Every allocated address with its owner and whether that owner still uses it.",
    (
        ADDRESSES.columns[0],
        Column("state", "str", "in-use, leaked, cooling, reserved (by Windows) or unknown"),
        OWNER,
        Column("why", "str", "reason for the state"),
        *ADDRESSES.columns[1:-1],
        Column("borrowed", "bool", "its node does not own the block"),
        Column("age", "float", "time since allocation, at the time of observation", "seconds"),
        ADDRESSES.columns[-1],
    ),
    key=("block", "address"),
)

IN_USE = Schema(
    "ipam.in_use",
    "Every address in use: by pods (not host-networked), tunnels, and load balancers managed by Calico.",
    (
        Column("address", "str", "address"),
        Column("kind", "str", "pod, tunnel or loadBalancer"),
        OWNER,
        Column("node", "str", "its node"),
        Column("leaving", "bool", "the pod is being deleted"),
        Column("by_ipam", "bool", "false where the pod requested an address outside IPAM (ipAddrsNoIpam)"),
        Column("created", "time", "when its owner was created"),
    ),
)

DUPLICATES = Schema(
    "ipam.duplicates",
    "Addresses used by more than one workload, tunnel or node; `calicoctl ipam check` does not count them.",
    (
        Column("address", "str", "address"),
        Column("owners", "list", "all that use it, sorted"),
        Column("nodes", "list", "their nodes, sorted"),
        Column("allocated_to", "str", "owner according to IPAM"),
        Column("blocks", "list", "blocks that record it; two where blocks overlap"),
    ),
    key=("address",),
)

UNALLOCATED = Schema(
    "ipam.unallocated",
    "Addresses in use inside a pool but not allocated in IPAM.",
    (
        Column("address", "str", "address"),
        POOL,
        BLOCK,
        OWNER,
        Column("kind", "str", "pod, tunnel or loadBalancer"),
        Column("node", "str", "its node"),
        Column("certain", "bool", "false where the block changed after the pods were listed, or the pod is new"),
    ),
    key=("address", "owner"),
)


@table(IN_USE, needs={"pods": "kube.pods", "tunnels": "kube.tunnels"}, wants={"balancers": "ipam.load_balancers"})
def in_use(pods: pd.DataFrame, tunnels: pd.DataFrame, balancers: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each address and user; see :data:`IN_USE`."""
    live = pods[~pods["host_network"] & pods["node"].notna() & ~pods["finished"]]
    each = live.loc[live.index.repeat([len(a) for a in cells(live, "addresses")])]
    of_pods = pd.DataFrame(
        {
            "address": [a for addresses in cells(live, "addresses") for a in addresses],
            "kind": "pod",
            "owner": (each["namespace"] + "/" + each["pod"]).array,
            "node": each["node"].array,
            "leaving": each["deleted"].notna().array,
            "by_ipam": [not notes.get("ipAddrsNoIpam") for notes in cells(each, "annotations")],
            "created": each["created"].array,
        }
    )
    parts = [of_pods, tunnels.assign(kind="tunnel", owner=tunnels["node"])]
    if balancers is not None:
        parts.append(balancers.assign(kind="loadBalancer", node=None))
    every = [p.assign(leaving=False, by_ipam=True, created=None) if p is not of_pods else p for p in parts]
    return IN_USE.take(pd.concat([IN_USE.take(p) for p in every]))


@table(
    Schema(
        "ipam.load_balancers",
        "Addresses of services of type LoadBalancer whose address Calico manages.",
        (Column("address", "str", "address"), OWNER),
    ),
    needs={"services": "kube.services", "configuration": "kubecontrollersconfigurations"},
)
def load_balancers(services: pd.DataFrame, configuration: Any) -> pd.DataFrame:
    """One row for each address; columns address and owner (NS/SERVICE), str.

    Which services Calico manages: source kube-controllers/pkg/controllers/loadbalancer, IsCalicoManagedLoadBalancer.
    """
    modes = {
        ((body.get("controllers") or {}).get("loadBalancer") or {}).get("assignIPs")
        for body in configuration.rows(spec)
    }
    cls = services["load_balancer_class"].fillna("")
    managed = (services["type"] == "LoadBalancer") & among(cls, ["", "calico"])
    if "AllServices" not in modes:
        managed &= (cls == "calico") | services["requests_calico"].astype(bool)
    if not modes & {"AllServices", "RequestedServicesOnly"}:
        managed &= False
    ours = services[managed]
    owners = ours.assign(owner=ours["namespace"] + "/" + ours["service"]).explode("load_balancer_ips")
    owners = owners[owners["load_balancer_ips"].notna()]
    return pd.DataFrame(
        {"address": owners["load_balancer_ips"].astype("str"), "owner": owners["owner"].astype("str")}
    ).reset_index(drop=True)


@table(
    ALLOCATIONS,
    needs={"addresses": "ipam.addresses"},
    wants={
        "pods": "kube.pods",
        "nodes": "kube.nodes",
        "in_use": "ipam.in_use",
        "now": "@now",
        "services": "kube.services",
    },
)
def allocations(
    addresses: pd.DataFrame,
    pods: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    in_use: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
    services: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each allocated address; see :data:`ALLOCATIONS`.

    Without pods (or nodes, for tunnels) the state is ``unknown``. ``now`` is when the cluster was seen; without it the
    newest time in the tables stands for it, so that ages are never too high.
    """
    frame = addresses.copy()
    frame["owner"] = _owners(frame)
    frame["borrowed"] = (frame["node"].notna() & (frame["node"] != frame["block_node"].fillna(""))).astype("boolean")
    frame["age"] = (_latest(now, addresses, pods) - frame["since"]).dt.total_seconds().astype("float64")
    judge = _Judge(frame)
    if pods is not None:
        judge.pods(pods, in_use)
    else:
        judge.say(frame["type"] == "pod", "unknown", "pods are unknown")
    judge.tunnels(nodes, in_use)
    judge.balancers(services, in_use)
    judge.say(frame["type"] == "vmi", "unknown", "reserved for a virtual machine, running or not")
    judge.say(frame["type"] == "windows-reserved", "reserved", "reserved on Windows")
    judge.say(frame["cooling"], "cooling", "released, in cooldown")
    frame["state"], frame["why"] = judge.state, judge.why
    return ALLOCATIONS.take(frame)


def _owners(frame: pd.DataFrame) -> pd.Series[str]:
    pod = frame["namespace"].fillna("") + "/" + frame["pod"].fillna("")
    service = frame["namespace"].fillna("") + "/" + frame["service"].fillna("")
    owner = pod.where(frame["pod"].notna(), service.where(frame["service"].notna(), frame["node"]))
    return owner.where(frame["type"] != "windows-reserved", None)


def _latest(now: pd.Timestamp | None, addresses: pd.DataFrame, pods: pd.DataFrame | None) -> Any:
    if now is not None:
        return now
    times = [addresses["since"].max(), *([] if pods is None else [pods["created"].max()])]
    return max((t for t in times if not pd.isna(t)), default=pd.NaT)


class _Judge:
    """Writes the state of the allocations of each kind into the frame; the last word counts."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.state = np.full(len(frame), "unknown", dtype=object)
        self.why = np.full(len(frame), "of an unknown kind: whether it is in use is unknown", dtype=object)

    def say(self, rows: pd.Series[bool], state: str, why: str) -> None:
        mask = rows.to_numpy(dtype=bool)
        self.state[mask], self.why[mask] = state, why

    def pods(self, pods: pd.DataFrame, in_use: pd.DataFrame | None) -> None:
        """A pod's allocation is leaked if the pod is gone or uses others, and nobody else uses it."""
        mine = self.frame["type"] == "pod"
        by_name = pods.assign(owner=pods["namespace"] + "/" + pods["pod"]).drop_duplicates("owner").set_index("owner")
        facts = by_name.reindex(self.frame["owner"])
        exists = pd.Series(among(self.frame["owner"], by_name.index).to_numpy(), index=self.frame.index)
        host = _flag(facts["host_network"], self.frame)
        ended = _flag(facts["finished"], self.frame)
        claimed = [_claims(a, n) for a, n in cells(facts, "addresses", "annotations")]
        uses = pd.Series(
            [a in c for a, c in zip(self.frame["address"].tolist(), claimed, strict=True)],
            index=self.frame.index,
            dtype=bool,
        )
        silent = pd.Series([not c for c in claimed], index=self.frame.index, dtype=bool)
        self.say(mine & ~exists, "leaked", "the pod does not exist")
        self.say(mine & exists & ~uses, "leaked", "the pod uses another address")
        self.say(mine & exists & silent & ~ended, "in-use", "the pod has not reported its address yet")
        self.say(mine & exists & host, "leaked", "the pod is host-networked")
        self.say(mine & exists & ended, "unknown", "the pod has completed; its address is released with its sandbox")
        self.say(mine & exists & uses & ~ended & ~host, "in-use", "the pod uses it")
        if in_use is not None:
            other = among(self.frame["address"], in_use["address"]) & (self.state == "leaked")
            self.say(mine & other, "in-use", USED_BY_ANOTHER)

    def tunnels(self, nodes: pd.DataFrame | None, in_use: pd.DataFrame | None) -> None:
        mine = among(self.frame["type"], TUNNEL_TYPES)
        self.say(mine, "unknown", "nodes are unknown")
        if nodes is None or in_use is None:
            return
        used = set(in_use.loc[in_use["kind"] == "tunnel", "address"])
        uses = among(self.frame["address"], used)
        exists = among(self.frame["node"], nodes["node"])
        self.say(mine & uses, "in-use", "the node's tunnel uses it")
        self.say(mine & exists & ~uses, "unknown", "the node's annotations do not have it as tunnel address")
        self.say(mine & ~exists, "leaked", "the node does not exist")

    def balancers(self, services: pd.DataFrame | None, in_use: pd.DataFrame | None) -> None:
        mine = self.frame["type"] == "loadBalancer"
        self.say(mine, "unknown", "services are unknown")
        if services is None or in_use is None:
            return
        used = set(in_use.loc[in_use["kind"] == "loadBalancer", "address"])
        exists = among(self.frame["owner"], services["namespace"] + "/" + services["service"])
        self.say(mine & exists, "in-use", "the service exists")
        self.say(mine & ~exists, "leaked", "the service does not exist")
        self.say(mine & among(self.frame["address"], used), "in-use", "the service uses it")


def _flag(values: pd.Series[Any], like: pd.DataFrame) -> pd.Series[bool]:
    return pd.Series(values.fillna(False).to_numpy(dtype=bool), index=like.index)


def _claims(addresses: Any, annotations: Any) -> set[str]:
    """What a pod says it uses: its status and the CNI plugin's annotation, as a status may hold one family only."""
    if not isinstance(addresses, list):
        return set()
    noted = (annotations.get("podIPs") or annotations.get("podIP") or "") if isinstance(annotations, dict) else ""
    return {*addresses, *(a.split("/")[0] for a in noted.split(",") if a)}


@table(DUPLICATES, needs={"in_use": "ipam.in_use"}, wants={"allocations": "ipam.allocations", "nodes": "kube.nodes"})
def duplicates(
    in_use: pd.DataFrame, allocations: pd.DataFrame | None = None, nodes: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row for each address with several users; see :data:`DUPLICATES`. Pods that are being deleted do not count."""
    users = in_use.loc[~in_use["leaving"].astype(bool), ["address", "owner", "node"]]
    if nodes is not None:
        hosts = nodes[["addresses", "node"]].explode("addresses").dropna()
        hosts = pd.DataFrame({"address": hosts["addresses"], "owner": "node " + hosts["node"], "node": hosts["node"]})
        users = pd.concat([users, hosts.drop_duplicates()])
    rows = {a: (set(g["owner"]), set(g["node"].dropna())) for a, g in _shared(users)}
    # Of two blocks that record an address, one whose owner is gone gives it to nobody.
    by_address = (
        None
        if allocations is None
        else allocations[among(allocations["state"], ("in-use", "unknown")) & (allocations["why"] != USED_BY_ANOTHER)]
    )
    if by_address is not None:
        for address, group in _shared(by_address):
            if group["block"].nunique() > 1 and group["owner"].nunique() > 1:
                owners, on = rows.get(address, (set(), set()))
                rows[address] = (owners | set(group["owner"].dropna()), on | set(group["node"].dropna()))
    return DUPLICATES.frame([_duplicate(a, *rows[a], by_address) for a in sorted(rows)])


def _shared(frame: pd.DataFrame) -> Any:
    """The groups of rows that share an address."""
    return frame[frame.duplicated("address", keep=False)].groupby("address")


def _duplicate(address: str, owners: set[str], on: set[str], allocations: pd.DataFrame | None) -> dict[str, Any]:
    recorded = None if allocations is None else allocations[allocations["address"] == address]
    known = recorded is not None and len(recorded)
    return {
        "address": address,
        "owners": sorted(owners),
        "nodes": sorted(on),
        "allocated_to": recorded["owner"].iloc[0] if recorded is not None and known else None,
        "blocks": [] if recorded is None else sorted(set(recorded["block"])),
    }


@table(
    UNALLOCATED,
    needs={"in_use": "ipam.in_use", "addresses": "ipam.addresses", "blocks": "ipam.blocks", "pools": "ipam.pools"},
    wants={"pods": "pods", "now": "@now"},
)
def unallocated(
    in_use: pd.DataFrame,
    addresses: pd.DataFrame,
    blocks: pd.DataFrame,
    pools: pd.DataFrame,
    pods: Any = None,
    now: pd.Timestamp | None = None,
) -> pd.DataFrame:
    """One row for each address in use inside a pool that no block has allocated; see :data:`UNALLOCATED`.

    None where there is no block at all: then another IPAM gives the addresses. ``pods`` is the API's list, for the
    revision at which it was taken.
    """
    lost = in_use[~among(in_use["address"], addresses["address"]) & in_use["by_ipam"] & ~in_use["leaving"]]
    nets = pool_prefixes(pools)
    block_nets = [(b, prefix(b), r) for b, r in cells(blocks, "block", "revision")]
    listed = getattr(pods, "revision", None)
    rows = []
    for user in records(lost) if len(blocks) else ():
        place = prefix(str(user.address))
        pool = next((name for name, net in nets if net.covers(place)), None)
        block = next(((b, r) for b, net, r in block_nets if net.covers(place)), (None, None))
        if pool is None:
            continue
        young = now is not None and not pd.isna(user.created) and now - user.created < YOUNG
        moved = listed is not None and block[1] is not None and not pd.isna(block[1]) and int(block[1]) > listed
        row = {"address": user.address, "pool": pool, "block": block[0], "owner": user.owner, "kind": user.kind}
        rows.append({**row, "node": user.node, "certain": not (young or moved)})
    return UNALLOCATED.frame(rows)
