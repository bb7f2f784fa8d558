"""Checks of routes, tunnels, MTUs and node addresses. What each finding is called stands in diagnosis/findings.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import always, in_common, named
from calicokit.net import prefix
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

MOST = 50
"""Maximum nodes or pods at fault reported individually."""

BAD_CHECKSUMS = 100
"""Minimum datagrams with a bad checksum to report; fewer can be noise from the internet."""

YOUNG = 10
"""Seconds in which a pod's route may still be missing."""

FRESH = 20
"""Seconds in which a new block may not have reached all nodes."""

ENOUGH = 10
"""Packets sent into a tunnel, after which silence tells something."""

# ---- addresses and subnets


@check("node-address-wrong", needs={"addresses": "routes.addresses"}, absence=True, printed=("routes.addresses",))
def node_address_wrong(addresses: pd.DataFrame) -> Iterator[Finding]:
    """An address that Calico chose for a node and that its peers cannot use."""
    for row in list(records(addresses[addresses["problem"].notna()]))[:MOST]:
        six = "6" if row.version == 6 else ""
        yield finding(
            "node-address-wrong",
            subject={"node": row.node, "address": row.address if isinstance(row.address, str) else IPV6},
            cause=_address_cause(row),
            remedy=f"Set IP{six} or IP{six}_AUTODETECTION_METHOD of calico-node (operator: "
            f"nodeAddressAutodetectionV{row.version}), for example kubernetes-internal-ip or cidr=…, and restart "
            "calico-node on that node.",
            evidence=[Rows.of("nodes", "routes.addresses", [{"node": row.node, "version": int(row.version)}])],
            about={row.node, *row.same},
        )


IPV6 = "IPv6"
"""What stands for an address that a node lacks."""


def _address_cause(row: Any) -> str:
    if not isinstance(row.address, str):
        return (
            f"Calico has no IPv6 address of {row.node}: {row.problem}. No node has a route to its pods' IPv6 addresses."
        )
    return f"Calico's address of {row.node}, {row.address}, is not usable for its peers: {row.problem}."


@check("encap-needed", needs={"subnets": "routes.subnets", "use": "bgp.use"}, absence=True)
def encap_needed(subnets: pd.DataFrame, use: pd.DataFrame) -> Iterator[Finding]:
    """A pool without encapsulation, nodes in different subnets, and no router that is told its routes."""
    if not bool(use["in_use"].fillna(False).iloc[0]):
        return  # BGP is not what brings the routes: what is between is not seen
    told = subnets["routers"].map(bool) & subnets["exported"]
    dead = subnets[~told & ~(subnets["answered"] > 0).fillna(False)]
    for pool, rows in dead.groupby("pool", sort=True):
        nodes = sorted({n for found in rows["nodes"] for n in found})
        names = sorted({*rows["subnet"], *rows["other"]})
        quiet = " No conntrack entry between their pods has seen a reply." if rows["answered"].notna().any() else ""
        yield finding(
            "encap-needed",
            subject={"nodes": nodes, "pool": str(pool)},
            cause=f"Pool {pool} has no encapsulation, and nodes with its blocks are in {len(names)} subnets "
            f"({listed(names)}) with a router between them, as {rows['how'].iloc[0]}: that router has no routes to "
            f"pods and drops their packets.{quiet}",
            remedy=f"Set vxlanMode or ipipMode of {pool} to CrossSubnet, or advertise the pool's routes to the "
            "routers (BGPPeer).",
            evidence=[
                Rows.of("ippools", "ipam.pools", [{"pool": pool}]),
                Rows.of(
                    "nodes",
                    "routes.subnets",
                    [{"pool": pool, "subnet": r.subnet, "other": r.other} for r in records(rows)],
                ),
            ],
            about=set(nodes),
        )


# ---- routes that are in the way, missing, or claimed twice


@check("route-conflict", needs={"conflicts": "routes.conflicts"})
def route_conflict(conflicts: pd.DataFrame) -> Iterator[Finding]:
    """A route or rule that Calico did not make decides in place of Calico's, and leads elsewhere."""
    for row in list(records(conflicts[~conflicts["harmless"]]))[:MOST]:
        key = {"node": row.node, "table": row.table, "cidr": row.cidr, "line": row.line}
        whose = f", to pods of {listed(row.owners)}" if row.owners else ""
        learnt = f" {listed(row.learnt_by)} learnt it from this node by BGP." if row.learnt_by else ""
        yield finding(
            "route-conflict",
            subject={"node": row.node, "cidr": row.cidr},
            cause=f"On {row.node} `{row.route}`, which Calico did not program, {_OVERRIDES[row.how]} Calico's "
            f"{listed(row.overrides)}{whose}.{learnt}",
            remedy=f"Find what set it (NetworkManager, netplan, another CNI, a script), remove it ({_undo(row)}), and "
            "make sure it does not return.",
            evidence=[Rows.of(_shown_by(row), "routes.conflicts", [key], row.node)],
            about={row.node, row.cidr, *row.overrides, *row.learnt_by, *row.owners},
        )


_OVERRIDES = {
    "longer-prefix": "is more specific than",
    "metric": "replaces, or has a lower metric than,",
    "table": "is looked up by an earlier routing rule than",
    "rule": "takes precedence over",
}


def _shown_by(row: Any) -> str:
    """The evidence that shows a conflict."""
    rules = "ip-rule6" if ":" in row.cidr else "ip-rule"
    return rules if row.how == "rule" else "ip-route-all"


def _undo(row: Any) -> str:
    ip = "ip -6" if ":" in row.cidr else "ip"
    if row.how == "rule":
        return f"`{ip} rule del {row.route.partition(': ')[2]}`"
    return f"`{ip} route del {row.route}`" + (", or the ip rule that looks up its table" if row.how == "table" else "")


@check(
    "bgp-filter-reject",
    needs={"filters": "routes.filters", "blocks": "routes.blocks", "expected": "bgp.expected"},
    absence=True,
)
def filter_reject(filters: pd.DataFrame, blocks: pd.DataFrame, expected: pd.DataFrame) -> Iterator[Finding]:
    """A BGPFilter keeps out a route that a node lacks."""
    lacking: dict[str, set[str]] = {}
    for node, cidr in _lacking(blocks):
        lacking.setdefault(cidr, set()).add(node)
    inside = set(expected[expected["internal"].astype(bool)]["node"].astype("str"))
    told: set[tuple[str, ...]] = set()
    for row in records(filters[filters["action"] == "Reject"]):
        lost = lacking.get(row.cidr, set())
        hears = {row.node} & lost if row.direction == "import" else lost - {row.owner}
        if row.peer not in set(blocks["node"].cat.categories):
            hears -= inside  # nodes that have sessions with each other get their routes from these
        key = (row.node, _resource(row.bgp_peer), row.filter, row.cidr)
        if not hears or key in told or len(told) >= MOST:
            continue
        told.add(key)
        yield finding(
            "bgp-filter-reject",
            subject=dict(zip(("node", "peer", "filter", "cidr"), key, strict=True)),
            cause=f"Rule {row.rule} of {row.direction}V{prefix(row.cidr).version} of BGPFilter {row.filter} rejects "
            f"{row.cidr} (block of {row.owner}) on {row.node}: no route to it on {listed(sorted(hears))}.",
            remedy=f"Make BGPFilter {row.filter} accept the pools' prefixes, or remove it from {row.bgp_peer}.",
            evidence=[
                Rows.of(
                    "bgpfilters",
                    "routes.filters",
                    [{"node": row.node, "peer": row.peer, "direction": row.direction, "cidr": row.cidr}],
                ),
                Rows.of("ip-route-all", "routes.blocks", [{"node": n, "cidr": row.cidr} for n in sorted(hears)]),
            ],
            about={*hears, row.owner, row.cidr},
        )


def _resource(why: str) -> str:
    """The name in ``BGPPeer NAME``, as ``bgp.expected`` names what asks for a session."""
    return why.removeprefix("BGPPeer ").split()[0].rstrip(",;") if why.startswith("BGPPeer ") else why


def _lacking(blocks: pd.DataFrame) -> dict[tuple[str, str], Any]:
    away = blocks["kind"].isin(["remote", "borrowed"]) & (blocks["status"] == "missing")
    mine = blocks[away].astype({"node": "str", "cidr": "str"})
    return {(r.node, r.cidr): r for r in records(mine)}


@check(
    "bgp-route-missing",
    needs={
        "blocks": "routes.blocks",
        "ipam": "ipam.blocks",
        "affinities": "ipam.affinities",
        "compared": "bgp.compared",
        "use": "bgp.use",
        "birds": "bgp.birds",
    },
    wants={"pools": "ipam.pools", "conditions": "health.node_conditions", "settings": "routes.settings", "now": "@now"},
    absence=True,
)
def route_missing(
    blocks: pd.DataFrame,
    ipam: pd.DataFrame,
    affinities: pd.DataFrame,
    compared: pd.DataFrame,
    use: pd.DataFrame,
    birds: pd.DataFrame,
    pools: pd.DataFrame | None = None,
    conditions: pd.DataFrame | None = None,
    settings: pd.DataFrame | None = None,
    now: pd.Timestamp | None = None,
) -> Iterator[Finding]:
    """A node lacks the route to a living node's block although the sessions on the way are up."""
    if not bool(use["in_use"].fillna(False).iloc[0]):
        return
    lost = _not_ready(conditions)
    answers = birds[birds["state"] == "answers"]
    alive = {v: set(answers[answers["family"] == v]["node"]) - lost for v in (4, 6)}
    hidden = set() if pools is None else set(pools[~pools["bgp_export"].fillna(True)]["pool"])
    felixs = _felix_programs(settings)
    confirmed = {(n, b) for n, b, s in cells(affinities, "node", "block", "state") if s == "confirmed"}
    claimed = dict(cells(ipam, "block", "claimed"))
    up = {v: _ways(compared[compared["family"] == v]) for v in (4, 6)}
    found = 0
    for (node, cidr), row in _lacking(blocks).items():
        owner = str(row.owner)
        young = now is not None and pd.notna(claimed.get(cidr)) and (now - claimed[cidr]).total_seconds() < FRESH
        held = row.kind == "borrowed" or (owner, cidr) in confirmed
        if row.mode in felixs or row.pool in hidden or {node, owner} - alive[row.version] or not held or young:
            continue
        maybe_felix = row.mode == "ipip" and pd.notna(row.in_bird) and bool(row.in_bird)
        if maybe_felix or not up[row.version](node, owner) or found >= MOST:
            continue
        found += 1
        yield finding(
            "bgp-route-missing",
            subject={"node": node, "cidr": cidr},
            cause=f"{node} has no route to {cidr}, {_WHAT[row.kind]} {owner}, although the BGP sessions towards it "
            f"are up{_where_lost(row, blocks)}.",
            remedy=f"Compare `birdcl{'6' if row.version == 6 else ''} show route {cidr} all` on {owner} and {node}, "
            "then the filters between them (BGPFilter, `show protocols all`: filtered routes).",
            evidence=[Rows.of("ip-route-all", "routes.blocks", [{"node": node, "cidr": cidr}], node)],
            about={node, owner, cidr},
        )


_WHAT = {"remote": "a block of", "borrowed": "a borrowed address of a pod on"}


def _not_ready(conditions: pd.DataFrame | None) -> set[str]:
    if conditions is None:
        return set()
    return set(conditions[(conditions["condition"] == "Ready") & (conditions["status"] != "True")]["node"])


def _felix_programs(settings: pd.DataFrame | None) -> set[str]:
    """The modes whose routes Felix programs from the datastore, so that BGP is not what lacks."""
    if settings is None or not len(settings):
        return {"vxlan"}
    by = settings.iloc[0]
    return {"vxlan", *(m for m, who in (("ipip", by["ipip_by"]), ("none", by["plain_by"])) if who == "felix")}


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
        return "; its BIRD has it but did not export it to the kernel"
    if len(own) and own["in_bird"].eq(False).iloc[0]:
        return f"; {row.owner}'s own BIRD does not have it either"
    return "; its BIRD did not receive it, or filtered it"


@check("bgp-block-conflict", needs={"claims": "routes.claims"}, absence=True)
def block_conflict(claims: pd.DataFrame) -> Iterator[Finding]:
    """A block, or a part of one, that two nodes claim."""
    for row in list(records(claims))[:MOST]:
        said = "; ".join(f"{n}: {h}" for n, h in zip(row.nodes, row.how, strict=True))
        yield finding(
            "bgp-block-conflict",
            subject={"cidr": row.cidr, "nodes": list(row.nodes)},
            cause=f"{listed(row.nodes)} claim {row.cidr} ({said}): packets to its pods can reach the wrong node.",
            remedy="Check which node owns the block (`calicoctl ipam show --show-blocks`), and why the other "
            "announces it: a stale affinity, a second cluster on the same network, a static route in BIRD.",
            evidence=[Rows.of(_birds_routes(row.cidr), "routes.claims", [{"cidr": row.cidr}])],
            about={*row.nodes, row.cidr, row.block},
        )


def _birds_routes(destination: str) -> str:
    """The evidence that shows BIRD's routes of a destination's IP version."""
    return "birdcl6-route" if ":" in destination else "birdcl-route"


@check("pod-route-missing", needs={"pods": "routes.pods"}, absence=True)
def pod_route_missing(pods: pd.DataFrame) -> Iterator[Finding]:
    """A running pod without its route or its interface on its node."""
    lost = pods[
        ((pods["has_route"].fillna(True) == False) | (pods["has_interface"].fillna(True) == False))  # noqa: E712
        & ~(pods["age"] < YOUNG)
    ]
    for row in list(records(lost))[:MOST]:
        if pd.notna(row.has_route) and not row.has_route:
            instead = (
                f"; the route that exists points elsewhere: {row.elsewhere}" if isinstance(row.elsewhere, str) else ""
            )
            what = f"{row.node} has no route to {row.address}{instead}"
        else:
            what = f"its interface {row.interface} does not exist on {row.node}"
        yield finding(
            "pod-route-missing",
            subject={"node": row.node, "pod": f"{row.namespace}/{row.pod}"},
            cause=f"{row.namespace}/{row.pod} is running, but {what}: it is unreachable.",
            remedy=f"Check Felix on {row.node} (it restores routes within RouteRefreshInterval); deleting the pod "
            "makes the CNI plugin set up a new one.",
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


@check(
    "bgp-service-not-advertised",
    needs={"services": "routes.services", "use": "bgp.use", "birds": "bgp.birds"},
    absence=True,
)
def service_not_advertised(services: pd.DataFrame, use: pd.DataFrame, birds: pd.DataFrame) -> Iterator[Finding]:
    """A service address that should be announced and that no node announces."""
    if not bool(use["in_use"].fillna(False).iloc[0]) or "answers" not in set(birds["state"]):
        return
    nobody = pd.Series([isinstance(by, list) and not by for by in services["announced_by"]], dtype=bool)
    lost = services[nobody & (services["whole"] | services["ready"].fillna(False))]
    for name, group in lost.groupby("service"):
        row = next(records(group))
        local = " (externalTrafficPolicy is Local: it needs a ready endpoint on a node)" if row.local else ""
        yield finding(
            "bgp-service-not-advertised",
            subject={"service": str(name)},
            cause=f"No node announces {listed(group['address'])} of {name}, which is in {row.range} of BGPConfiguration"
            f"{local}.",
            remedy="Check confd's log and the static routes in `birdcl show route`; a node labelled "
            "node.kubernetes.io/exclude-from-external-load-balancers announces none.",
            evidence=[
                Rows.of(shown, "routes.services", [{"service": name, "address": a} for a in its])
                for shown, its in group["address"].groupby(group["address"].map(_birds_routes))
            ],
        )


# ---- tunnels


@check(
    "vxlan-blocked",
    needs={"vxlan": "routes.vxlan", "tunnels": "routes.tunnels"},
    wants={"walls": "routes.walls"},
    absence=True,
)
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
            reasons.append(f"a rule blocks VXLAN ({walled[node]})")
        yield finding(
            "vxlan-blocked",
            subject={"node": node},
            cause=f"VXLAN is broken on {node}: {'; '.join(reasons)}.",
            remedy="Open UDP 4789 (or FelixConfiguration vxlanPort) between all nodes: `iptables-save -c | grep 4789`, "
            "security groups; for missing entries read Felix's log on that node.",
            evidence=[
                Rows.of("ip-link-stats", "routes.tunnels", _device_keys(tunnels, node, "vxlan"), node),
                Rows.of("bridge-fdb", "routes.vxlan", [{"node": node, "peer": p} for p in missing.get(node, ())], node),
            ],
            about={node, *missing.get(node, ())},
        )


@check("ipip-blocked", needs={"tunnels": "routes.tunnels"}, wants={"walls": "routes.walls"}, absence=True)
def ipip_blocked(tunnels: pd.DataFrame, walls: pd.DataFrame | None = None) -> Iterator[Finding]:
    """IP protocol 4 does not pass."""
    silent, walled = _silent(tunnels, "ipip"), _walled(walls, "ipip")
    nodes = sorted({*silent, *walled})
    if nodes:
        said = [*silent.values(), *(f"on {n} a rule blocks it ({r})" for n, r in walled.items())]
        yield finding(
            "ipip-blocked",
            subject={"nodes": nodes},
            cause=f"IPIP (IP protocol 4) does not reach {listed(nodes)}: {'; '.join(said[:3])}.",
            remedy="Allow IP protocol 4 between all nodes (firewalls, security groups; some clouds never forward it: "
            "use VXLAN there).",
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
            (row.tx_growth, row.rx_growth, "during sampling"),
            (row.tx_packets, row.rx_packets, "since the interface was created"),
        ):
            name = "tx_growth" if when.startswith("during") else "tx_packets"
            if pd.notna(sent) and pd.notna(got) and sent >= ENOUGH and got == 0 and others[name].sum() >= ENOUGH:
                found[row.node] = f"{plural(int(sent), 'packet')} went into {row.interface} and none came out {when}"
                break
    return found


def _walled(walls: pd.DataFrame | None, mode: str) -> dict[str, str]:
    """Nodes with a rule that keeps this encapsulation out, and the rule."""
    return {} if walls is None else dict(cells(walls[(walls["mode"] == mode) & ~walls["behind"]], "node", "rule"))


def _device_keys(tunnels: pd.DataFrame, node: str, mode: str) -> list[dict[str, Any]]:
    mine = tunnels[(tunnels["node"] == node) & (tunnels["mode"] == mode)]
    return [{"node": node, "interface": i} for i in mine["interface"]]


@check("vxlan-offload-broken", needs={"tunnels": "routes.tunnels", "counters": "output.nstat"})
def offload_broken(tunnels: pd.DataFrame, counters: pd.DataFrame) -> Iterator[Finding]:
    """UDP that arrives with bad checksums on a node that speaks VXLAN."""
    speak = set(tunnels[tunnels["mode"] == "vxlan"]["node"])
    bad = counters[(counters["counter"] == "UdpInCsumErrors") & (counters["value"] >= BAD_CHECKSUMS)]
    for row in records(bad[bad["node"].isin(speak)]):
        yield finding(
            "vxlan-offload-broken",
            subject={"node": row.node},
            cause=f"{plural(int(row.value), 'UDP packet')} arrived on {row.node} with a bad checksum: the NIC or its "
            "driver miscomputes checksums of VXLAN packets (checksum offload).",
            remedy="`ethtool -K vxlan.calico tx-checksum-ip-generic off` on the sending nodes, or "
            "featureDetectOverride ChecksumOffloadBroken=true in FelixConfiguration.",
            evidence=[Rows.of("nstat", "output.nstat", [{"node": row.node, "counter": "UdpInCsumErrors"}], row.node)],
        )


@check(
    "wireguard-down",
    needs={"wireguard": "routes.wireguard"},
    wants={"peers": "routes.wireguard_peers", "walls": "routes.walls"},
    absence=True,
)
def wireguard_down(
    wireguard: pd.DataFrame, peers: pd.DataFrame | None = None, walls: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """WireGuard is on and a node has no key or no device, or nothing comes out of it, or a peer never answered."""
    if not len(wireguard):
        return
    bad = set(wireguard[wireguard["problem"].notna()]["node"])
    walled = _walled(walls, "wireguard")
    silent = None if peers is None else peers[~peers["handshake"].fillna(True) & (peers["sent"] > 0)]
    for row in list(records(silent))[:MOST] if silent is not None else ():
        if isinstance(row.peer, str) and not {row.node, row.peer} & bad and not row.received > 0:
            rules = "".join(f"; on {n} a rule blocks it ({walled[n]})" for n in (row.node, row.peer) if n in walled)
            yield finding(
                "wireguard-down",
                subject={"node": row.node, "peer": row.peer},
                cause=f"{row.node} has sent {row.sent:,.0f} bytes to {row.peer} over WireGuard without any "
                f"handshake{rules}.",
                remedy="Open UDP 51820 (wireguardListeningPort) between all nodes; `wg show` on both.",
                evidence=[
                    Rows.of(
                        "felix-metrics",
                        "routes.wireguard_peers",
                        [{"node": row.node, "peer_key": row.peer_key}],
                        row.node,
                    )
                ],
                about={row.node, row.peer},
            )
    for row in list(records(wireguard[wireguard["problem"].notna()]))[:MOST]:
        yield finding(
            "wireguard-down",
            subject={"node": row.node, "peer": UNKNOWN},
            cause=f"WireGuard is enabled, but on {row.node} {row.problem}.",
            remedy="Check that the kernel supports WireGuard, that UDP 51820 is open between nodes, and Felix's log "
            "on the node.",
            evidence=[Rows.of("nodes", "routes.wireguard", [{"node": row.node}])],
            about={row.node},
        )


@check("mtu-mismatch", needs={"mtus": "routes.mtus"})
def mtu_mismatch(mtus: pd.DataFrame) -> Iterator[Finding]:
    """MTUs that leave no room for the encapsulation, or that do not fit each other."""
    wrong = mtus[mtus["problem"].notna()]
    if len(wrong):
        first = next(records(wrong))
        yield finding(
            "mtu-mismatch",
            subject={"nodes": list(wrong["node"])},
            cause=f"MTU mismatch on {listed(wrong['node'])}: on {first.node}, {first.problem}. Large packets are lost "
            "or fragmented while small ones pass.",
            remedy="Set the MTU (FelixConfiguration mtuIfacePattern, the CNI configuration's mtu, operator: "
            "calicoNetwork.mtu) to a value that fits, and recreate the pods: running pods keep their MTU.",
            evidence=[Rows.of("ip-link-stats", "routes.mtus", [{"node": n} for n in wrong["node"]])],
            about=set(wrong["node"]),
        )


# ---- what explains what


for _cause in ("bird-dead", "bgp-session-down", "bgp-config-stale", "bgp-as-mismatch"):
    explains(_cause, "bgp-route-missing")(in_common)


@explains("bgp-filter-reject", "bgp-route-missing", on="cidr")
def _filtered(cause: Finding, effect: Finding) -> bool:
    return effect.subject["node"] in cause.about


for _cause in ("ipam-block-overlap", "ipam-affinity-stale"):
    explains(_cause, "bgp-block-conflict")(lambda cause, effect: bool(named(cause) & effect.about))


@explains("route-conflict", "bgp-route-missing")
def _in_the_way(cause: Finding, effect: Finding) -> bool:
    return effect.subject["cidr"] in cause.about


@explains("route-conflict", "pod-route-missing", on="node")
def _in_the_pods_way(cause: Finding, effect: Finding) -> bool:
    return bool(named(cause) & effect.about)


@explains("route-conflict", "rp-filter-strict")
def _strict(cause: Finding, effect: Finding) -> bool:
    return cause.subject["node"] == effect.subject["node"] or effect.subject["node"] in cause.about


explains("bgp-route-missing", "rp-filter-strict", on="node")(always)


for _cause, _effect in (
    ("foreign-drop-rule", "vxlan-blocked"),
    ("felix-dead", "vxlan-blocked"),
    ("node-address-wrong", "vxlan-blocked"),
    ("hostendpoint-lockout", "vxlan-blocked"),
    ("foreign-drop-rule", "ipip-blocked"),
    ("node-address-wrong", "encap-needed"),
    ("ipam-duplicate", "pod-route-missing"),
):
    explains(_cause, _effect)(in_common)
