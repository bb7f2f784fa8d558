"""Checks of routes, tunnels, MTUs and node addresses. What each finding is called stands in diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.schema import cells, records
from calicokit.words import listed, plural

MOST = 50
"""So many nodes or pods at fault are named one by one."""

YOUNG = 10
"""Seconds in which a pod's route may still be missing."""

FRESH = 20
"""Seconds in which a new block may not have reached all nodes."""

ENOUGH = 10
"""Packets sent into a tunnel, after which silence tells something."""

# ---- addresses and subnets


@check("node-address-wrong", needs=("routes.addresses",))
def node_address_wrong(addresses: pd.DataFrame) -> Iterator[Finding]:
    """An address that Calico chose for a node and that its peers cannot use."""
    for row in list(records(addresses[addresses["problem"].notna()]))[:MOST]:
        yield finding(
            "node-address-wrong",
            subject={"node": row.node, "address": row.address},
            cause=f"Calico's address of {row.node}, {row.address}, is not one that its peers can use: {row.problem}.",
            remedy="Set IP or IP_AUTODETECTION_METHOD of calico-node (operator: nodeAddressAutodetectionV4), for "
            "example kubernetes-internal-ip or cidr=…, and restart calico-node on that node.",
            evidence=[Rows.of("nodes", "routes.addresses", [{"node": row.node}])],
            about={row.node, *row.same},
        )


@check("encap-needed", needs=("ipam.pools", "routes.blocks", "routes.addresses", "bgp.expected", "bgp.use"))
def encap_needed(
    pools: pd.DataFrame, blocks: pd.DataFrame, addresses: pd.DataFrame, expected: pd.DataFrame, use: pd.DataFrame
) -> Iterator[Finding]:
    """A pool without encapsulation, nodes in different subnets, and no router that is told its routes."""
    if not bool(use["in_use"].fillna(False).iloc[0]) or not expected["internal"].all():
        return  # a router outside is told, or BGP is not what brings the routes: what is between is not seen
    networks = {n: w for n, w, p in cells(addresses, "node", "network", "problem") if not isinstance(p, str)}
    if any(w.endswith("/32") for w in networks.values()):
        return  # addresses without a network, as some clouds give them: nothing tells what is next to what
    plain = blocks[(blocks["kind"] == "remote") & (blocks["mode"] == "none")]
    for pool in pools[~pools["disabled"].fillna(False)]["pool"]:
        mine = plain[plain["pool"] == pool]
        nodes = sorted({str(n) for n in mine["owner"]} & set(networks))
        subnets = {networks[n] for n in nodes}
        if len(subnets) < 2:
            continue
        yield finding(
            "encap-needed",
            subject={"nodes": nodes, "pool": pool},
            cause=f"Pool {pool} has no encapsulation, and nodes with its blocks are in {len(subnets)} subnets "
            f"({listed(sorted(subnets))}): the routers between them are told of no pod, and drop its packets.",
            remedy=f"Set vxlanMode or ipipMode of {pool} to CrossSubnet, or tell the routers the pool's routes "
            "(BGPPeer).",
            evidence=[
                Rows.of("ippools", "ipam.pools", [{"pool": pool}]),
                Rows.of("nodes", "routes.addresses", [{"node": n} for n in nodes]),
            ],
            about=set(nodes),
        )


# ---- routes that are in the way, missing, or claimed twice


@check("route-conflict", needs=("routes.conflicts",))
def route_conflict(conflicts: pd.DataFrame) -> Iterator[Finding]:
    """A route that Calico did not program overrides one that it did."""
    for row in list(records(conflicts))[:MOST]:
        way = " ".join(
            f"{word} {value}" for word, value in (("via", row.via), ("dev", row.interface)) if isinstance(value, str)
        )
        kind = "" if row.type == "unicast" else f"{row.type} "
        proto = f", proto {row.protocol}" if isinstance(row.protocol, str) else ""
        whose = f", a block of {row.owner}" if isinstance(row.owner, str) else ""
        learnt = f" {listed(row.learnt_by)} learnt it from here by BGP." if row.learnt_by else ""
        yield finding(
            "route-conflict",
            subject={"node": row.node, "cidr": row.cidr},
            cause=f"On {row.node} the route {kind}{row.cidr} {way}{proto}, which Calico did not program, overrides "
            f"Calico's {row.overrides}{whose}.{learnt}",
            remedy=f"Find who set it (`ip route show {row.cidr}`, NetworkManager, netplan, another CNI), remove it "
            f"(`{' '.join(f'ip route del {kind}{row.cidr} {way}'.split())}`), and keep it from coming back.",
            evidence=[
                Rows.of(
                    "ip-route-all",
                    "routes.conflicts",
                    [{"node": row.node, "table": row.table, "cidr": row.cidr}],
                    row.node,
                )
            ],
            about={row.node, row.overrides, *row.learnt_by, *([row.owner] if isinstance(row.owner, str) else [])},
        )


@check("bgp-filter-reject", needs=("routes.filters", "routes.blocks"))
def filter_reject(filters: pd.DataFrame, blocks: pd.DataFrame) -> Iterator[Finding]:
    """A BGPFilter keeps out a route that a node lacks."""
    lacking = _lacking(blocks)
    rejects = filters[filters["action"] == "Reject"]
    for row in list(records(rejects))[:MOST]:
        receiver = row.peer if row.direction == "export" else row.node
        if (receiver, row.cidr) not in lacking:
            continue
        yield finding(
            "bgp-filter-reject",
            subject={"node": row.node, "peer": _resource(row.bgp_peer), "filter": row.filter, "cidr": row.cidr},
            cause=f"Rule {row.rule} of {row.direction}V4 of BGPFilter {row.filter} rejects {row.cidr} (block of "
            f"{row.owner}) on {row.node}: {receiver} has no route to it.",
            remedy=f"Let BGPFilter {row.filter} accept the pools' prefixes, or take it out of {row.bgp_peer}.",
            evidence=[
                Rows.of(
                    "bgpfilters",
                    "routes.filters",
                    [{"node": row.node, "peer": row.peer, "direction": row.direction, "cidr": row.cidr}],
                ),
                Rows.of("ip-route-all", "routes.blocks", [{"node": receiver, "cidr": row.cidr}], receiver),
            ],
            about={receiver, row.owner, row.cidr},
        )


def _resource(why: str) -> str:
    """The name in ``BGPPeer NAME``, as ``bgp.expected`` names what asks for a session."""
    return why.removeprefix("BGPPeer ").split()[0].rstrip(",;") if why.startswith("BGPPeer ") else why


def _lacking(blocks: pd.DataFrame) -> dict[tuple[str, str], Any]:
    mine = blocks[(blocks["kind"] == "remote") & (blocks["status"] == "missing")].astype({"node": "str", "cidr": "str"})
    return {(r.node, r.cidr): r for r in records(mine)}


@check(
    "bgp-route-missing",
    needs=("routes.blocks", "ipam.blocks", "ipam.affinities", "bgp.compared", "bgp.use", "bgp.birds"),
    wants=("@now",),
)
def route_missing(
    blocks: pd.DataFrame,
    ipam: pd.DataFrame,
    affinities: pd.DataFrame,
    compared: pd.DataFrame,
    use: pd.DataFrame,
    birds: pd.DataFrame,
    now: pd.Timestamp | None = None,
) -> Iterator[Finding]:
    """A node lacks the route to a living node's block although the sessions on the way are up."""
    if not bool(use["in_use"].fillna(False).iloc[0]):
        return
    alive = set(birds[birds["state"] == "answers"]["node"])
    confirmed = {(n, b) for n, b, s in cells(affinities, "node", "block", "state") if s == "confirmed"}
    claimed = dict(cells(ipam, "block", "claimed"))
    up = _ways(compared)
    found = 0
    for (node, cidr), row in _lacking(blocks).items():
        owner = str(row.owner)
        young = now is not None and pd.notna(claimed.get(cidr)) and (now - claimed[cidr]).total_seconds() < FRESH
        if row.mode == "vxlan" or {node, owner} - alive or (owner, cidr) not in confirmed or young:
            continue
        by_felix = row.mode == "ipip" and pd.notna(row.in_bird) and bool(row.in_bird)
        if by_felix or not up(node, owner) or found >= MOST:
            continue
        found += 1
        yield finding(
            "bgp-route-missing",
            subject={"node": node, "cidr": cidr},
            cause=f"{node} has no route to {cidr}, a block of {owner}, although the sessions on the way are up"
            f"{_where_lost(row, blocks)}.",
            remedy=f"Compare `birdcl show route {cidr} all` on {owner} and {node}, then the filters between them "
            "(BGPFilter, `show protocols all`: filtered routes).",
            evidence=[Rows.of("ip-route-all", "routes.blocks", [{"node": node, "cidr": cidr}], node)],
            about={node, owner, cidr},
        )


def _ways(compared: pd.DataFrame) -> Any:
    """Whether two nodes hear of each other: by a session of their own, or by one reflector that both have."""
    rows = compared[compared["internal"].astype(bool) & compared["status"].isin(["up"])]
    heard: dict[str, set[str]] = {}
    for node, peer in cells(rows.astype({"node": "str", "peer": "str"}), "node", "peer"):
        heard.setdefault(node, set()).add(peer)

    def up(node: str, other: str) -> bool:
        if other in heard.get(node, ()):
            return node in heard.get(other, ())
        reflectors = {
            r for r in heard.get(node, set()) & heard.get(other, set()) if {node, other} <= heard.get(r, set())
        }
        return bool(reflectors)

    return up


def _where_lost(row: Any, blocks: pd.DataFrame) -> str:
    own = blocks[(blocks["kind"] == "own") & (blocks["cidr"] == row.cidr)]
    if pd.isna(row.in_bird):
        return ""
    if row.in_bird:
        return "; its BIRD has it and did not put it into the kernel"
    if len(own) and own["in_bird"].eq(False).iloc[0]:
        return f"; {row.owner}'s own BIRD does not have it either"
    return "; its BIRD did not get it, or filtered it"


@check("bgp-block-conflict", needs=("routes.claims",))
def block_conflict(claims: pd.DataFrame) -> Iterator[Finding]:
    """A block, or a part of one, that two nodes claim."""
    for row in list(records(claims))[:MOST]:
        said = "; ".join(f"{n}: {h}" for n, h in zip(row.nodes, row.how, strict=True))
        yield finding(
            "bgp-block-conflict",
            subject={"cidr": row.cidr, "nodes": list(row.nodes)},
            cause=f"{listed(row.nodes)} claim {row.cidr} ({said}): packets to its pods reach the wrong node.",
            remedy="See whose the block is (`calicoctl ipam show --show-blocks`), and why the other claims it: a stale "
            "affinity, a second cluster on the same network, a static route in BIRD.",
            evidence=[Rows.of("birdcl-route", "routes.claims", [{"cidr": row.cidr}])],
            about={*row.nodes, row.cidr, row.block},
        )


@check("pod-route-missing", needs=("routes.pods",))
def pod_route_missing(pods: pd.DataFrame) -> Iterator[Finding]:
    """A running pod without its route or its interface on its node."""
    lost = pods[
        ((pods["has_route"].fillna(True) == False) | (pods["has_interface"].fillna(True) == False))  # noqa: E712
        & ~(pods["age"] < YOUNG)
    ]
    for row in list(records(lost))[:MOST]:
        if pd.notna(row.has_route) and not row.has_route:
            instead = f"; what is there leads elsewhere: {row.elsewhere}" if isinstance(row.elsewhere, str) else ""
            what = f"{row.node} has no route to {row.address}{instead}"
        else:
            what = f"its interface {row.interface} is not on {row.node}"
        yield finding(
            "pod-route-missing",
            subject={"node": row.node, "pod": f"{row.namespace}/{row.pod}"},
            cause=f"{row.namespace}/{row.pod} runs, and {what}: nothing reaches it.",
            remedy=f"Look at Felix on {row.node} (it restores routes within RouteRefreshInterval); deleting the pod "
            "lets the CNI plugin set up a new one.",
            evidence=[
                Rows.of(
                    "ip-route-all",
                    "routes.pods",
                    [{"namespace": row.namespace, "pod": row.pod, "address": row.address}],
                    row.node,
                )
            ],
            about={row.node, row.address, row.interface},
        )


@check("bgp-service-not-advertised", needs=("routes.services", "bgp.use", "bgp.birds"))
def service_not_advertised(services: pd.DataFrame, use: pd.DataFrame, birds: pd.DataFrame) -> Iterator[Finding]:
    """A service address that should be announced and that no node announces."""
    if not bool(use["in_use"].fillna(False).iloc[0]) or "answers" not in set(birds["state"]):
        return
    nobody = pd.Series([isinstance(by, list) and not by for by in services["announced_by"]], dtype=bool)
    lost = services[nobody]
    for name, group in lost.groupby("service"):
        row = next(records(group))
        local = " (externalTrafficPolicy is Local: it needs a ready endpoint on a node)" if row.local else ""
        yield finding(
            "bgp-service-not-advertised",
            subject={"service": str(name)},
            cause=f"No node announces {listed(group['address'])} of {name}, which is in {row.range} of BGPConfiguration"
            f"{local}.",
            remedy="Look at confd's log and at the static routes of `birdcl show route`; a node labelled "
            "node.kubernetes.io/exclude-from-external-load-balancers announces none.",
            evidence=[
                Rows.of("birdcl-route", "routes.services", [{"service": name, "address": a} for a in group["address"]])
            ],
        )


# ---- tunnels


@check("vxlan-blocked", needs=("routes.vxlan", "routes.tunnels"), wants=("routes.walls",))
def vxlan_blocked(vxlan: pd.DataFrame, tunnels: pd.DataFrame, walls: pd.DataFrame | None = None) -> Iterator[Finding]:
    """VXLAN leaves and does not arrive, or a node does not know where to send it."""
    silent = _silent(tunnels, "vxlan")
    walled = _walled(walls, "vxlan")
    lost = vxlan[(vxlan["neighbour"] == False) | (vxlan["forwarding"] == False)]  # noqa: E712
    missing = {str(n): sorted(g["peer"]) for n, g in lost.groupby("node")}
    for node in sorted({*silent, *missing, *walled})[:MOST]:
        reasons = [silent[node]] if node in silent else []
        if node in missing:
            reasons.append(f"it has no neighbour or forwarding entry for {listed(missing[node])}")
        if node in walled:
            reasons.append(f"a rule keeps VXLAN out ({walled[node]})")
        yield finding(
            "vxlan-blocked",
            subject={"node": node},
            cause=f"VXLAN does not work for {node}: {'; '.join(reasons)}.",
            remedy="Open UDP 4789 (or FelixConfiguration vxlanPort) between all nodes: `iptables-save -c | grep 4789`, "
            "security groups; for missing entries see Felix's log on that node.",
            evidence=[
                Rows.of("ip-link-stats", "routes.tunnels", _device_keys(tunnels, node, "vxlan"), node),
                Rows.of("bridge-fdb", "routes.vxlan", [{"node": node, "peer": p} for p in missing.get(node, ())], node),
            ],
            about={node, *missing.get(node, ())},
        )


@check("ipip-blocked", needs=("routes.tunnels",), wants=("routes.walls",))
def ipip_blocked(tunnels: pd.DataFrame, walls: pd.DataFrame | None = None) -> Iterator[Finding]:
    """IP protocol 4 does not pass."""
    silent, walled = _silent(tunnels, "ipip"), _walled(walls, "ipip")
    nodes = sorted({*silent, *walled})
    if nodes:
        said = [*silent.values(), *(f"on {n} a rule keeps it out ({r})" for n, r in walled.items())]
        yield finding(
            "ipip-blocked",
            subject={"nodes": nodes},
            cause=f"IPIP (IP protocol 4) does not reach {listed(nodes)}: {'; '.join(said[:3])}.",
            remedy="Allow IP protocol 4 between all nodes (firewalls, security groups; some clouds never pass it: use "
            "VXLAN there).",
            evidence=[
                Rows.of("ip-link-stats", "routes.tunnels", [k for n in nodes for k in _device_keys(tunnels, n, "ipip")])
            ],
            about=set(nodes),
        )


def _silent(tunnels: pd.DataFrame, mode: str) -> dict[str, str]:
    """Nodes that send into the tunnel and get nothing out of it, while others send too: in a series, else ever."""
    mine = tunnels[(tunnels["mode"] == mode) & tunnels["up"]]
    found = {}
    for row in records(mine):
        others = mine[mine["node"] != row.node]
        for sent, got, when in (
            (row.tx_growth, row.rx_growth, "while it was watched"),
            (row.tx_packets, row.rx_packets, "since it was made"),
        ):
            name = "tx_growth" if when.startswith("while") else "tx_packets"
            if pd.notna(sent) and pd.notna(got) and sent >= ENOUGH and got == 0 and others[name].sum() >= ENOUGH:
                found[row.node] = f"{plural(int(sent), 'packet')} went into {row.interface} and none came out {when}"
                break
    return found


def _walled(walls: pd.DataFrame | None, mode: str) -> dict[str, str]:
    return {} if walls is None else dict(cells(walls[walls["mode"] == mode], "node", "rule"))


def _device_keys(tunnels: pd.DataFrame, node: str, mode: str) -> list[dict[str, Any]]:
    mine = tunnels[(tunnels["node"] == node) & (tunnels["mode"] == mode)]
    return [{"node": node, "interface": i} for i in mine["interface"]]


@check("vxlan-offload-broken", needs=("routes.tunnels", "output.nstat"))
def offload_broken(tunnels: pd.DataFrame, counters: pd.DataFrame) -> Iterator[Finding]:
    """UDP that arrives with bad checksums on a node that speaks VXLAN."""
    speak = set(tunnels[tunnels["mode"] == "vxlan"]["node"])
    bad = counters[(counters["counter"] == "UdpInCsumErrors") & (counters["value"] >= ENOUGH)]
    for row in records(bad[bad["node"].isin(speak)]):
        yield finding(
            "vxlan-offload-broken",
            subject={"node": row.node},
            cause=f"{plural(int(row.value), 'UDP packet')} came to {row.node} with a bad checksum: the network card or "
            "its driver computes checksums of VXLAN wrongly.",
            remedy="`ethtool -K vxlan.calico tx-checksum-ip-generic off` on the sending nodes, or "
            "featureDetectOverride ChecksumOffloadBroken=true in FelixConfiguration.",
            evidence=[Rows.of("nstat", "output.nstat", [{"node": row.node, "counter": "UdpInCsumErrors"}], row.node)],
        )


@check("wireguard-down", needs=("routes.wireguard",))
def wireguard_down(wireguard: pd.DataFrame) -> Iterator[Finding]:
    """WireGuard is on and a node has no key or no device, or nothing comes out of it."""
    for row in list(records(wireguard[wireguard["problem"].notna()]))[:MOST]:
        yield finding(
            "wireguard-down",
            subject={"node": row.node, "peer": UNKNOWN},
            cause=f"WireGuard is enabled, and on {row.node} {row.problem}.",
            remedy="See that the kernel has WireGuard, that UDP 51820 is open between nodes, and Felix's log there.",
            evidence=[Rows.of("nodes", "routes.wireguard", [{"node": row.node}])],
            about={row.node},
        )


@check("mtu-mismatch", needs=("routes.mtus",))
def mtu_mismatch(mtus: pd.DataFrame) -> Iterator[Finding]:
    """MTUs that leave no room for the encapsulation, or that do not fit each other."""
    wrong = mtus[mtus["problem"].notna()]
    if len(wrong):
        first = next(records(wrong))
        yield finding(
            "mtu-mismatch",
            subject={"nodes": list(wrong["node"])},
            cause=f"MTUs do not fit on {listed(wrong['node'])}: on {first.node}, {first.problem}. Large packets are "
            "lost or fragmented while small ones pass.",
            remedy="Set the MTU (FelixConfiguration mtuIfacePattern, the CNI configuration's mtu, operator: "
            "calicoNetwork.mtu) to what fits, and start the pods anew: running ones keep theirs.",
            evidence=[Rows.of("ip-link-stats", "routes.mtus", [{"node": n} for n in wrong["node"]])],
            about=set(wrong["node"]),
        )


# ---- what explains what


def _shares(cause: Finding, effect: Finding) -> bool:
    return bool({str(cause.subject.get("node"))} & effect.about)


for _cause in ("bird-dead", "bgp-session-down", "bgp-config-stale", "bgp-as-mismatch", "bgp-filter-reject"):
    explains(_cause, "bgp-route-missing")(lambda cause, effect: bool((cause.about | _named(cause)) & effect.about))
for _cause in ("ipam-block-overlap", "ipam-affinity-stale"):
    explains(_cause, "bgp-block-conflict")(lambda cause, effect: bool(_named(cause) & effect.about))


def _named(found: Finding) -> frozenset[str]:
    """All that a finding's subject names."""
    values = [v if isinstance(v, list) else [v] for v in found.subject.values()]
    return frozenset(str(v) for each in values for v in each)


@explains("route-conflict", "bgp-route-missing")
def _in_the_way(cause: Finding, effect: Finding) -> bool:
    return effect.subject["cidr"] in cause.about


@explains("route-conflict", "pod-route-missing")
def _in_the_pods_way(cause: Finding, effect: Finding) -> bool:
    return bool(cause.subject["node"] == effect.subject["node"] and _named(cause) & effect.about)


@explains("route-conflict", "rp-filter-strict")
def _strict(cause: Finding, effect: Finding) -> bool:
    return cause.subject["node"] == effect.subject["node"] or effect.subject["node"] in cause.about


@explains("bgp-route-missing", "rp-filter-strict")
def _no_way_back(cause: Finding, effect: Finding) -> bool:
    return bool(cause.subject["node"] == effect.subject["node"])


for _cause, _effect in (
    ("foreign-drop-rule", "vxlan-blocked"),
    ("felix-dead", "vxlan-blocked"),
    ("node-address-wrong", "vxlan-blocked"),
    ("hostendpoint-lockout", "vxlan-blocked"),
    ("foreign-drop-rule", "ipip-blocked"),
    ("node-address-wrong", "encap-needed"),
    ("ipam-duplicate", "pod-route-missing"),
):
    explains(_cause, _effect)(lambda cause, effect: bool((cause.about | _named(cause)) & effect.about))
