"""Checks of BGP's sessions. What each finding is called and how loud it is stands in diagnosis/findings.toml.

They are registered from cause to effect: a dead BIRD, a configuration that asks for nothing, one that is stale; then
what the ends disagree on; then the sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from calicokit.bgp.common_node import stars
from calicokit.bgp.sentences import meaning
from calicokit.dataplane.drops.firewall import source_of
from calicokit.diagnosis.model import UNKNOWN, Finding, Rows, check, explains, finding
from calicokit.diagnosis.relations import about, always, seen_on
from calicokit.schema import cells, records
from calicokit.sentences import listed, plural

MOST = 50
"""Maximum nodes at fault reported individually."""

SOURCES = {
    "birdcl": "birdcl-protocols-all",
    "CalicoNodeStatus": "caliconodestatuses",
    "calicoctl": "calicoctl-node-status",
    "log": "bird-log",
}

# ---- BIRD and its configuration


@check("bird-dead", needs={"birds": "bgp.birds", "use": "bgp.use"}, absence=True)
def bird_dead(birds: pd.DataFrame, use: pd.DataFrame) -> Iterator[Finding]:
    """A node's BIRD is dead, where BGP is in use."""
    first = use.iloc[0]
    reason = str(first["why"]) if pd.notna(first["needed"]) and first["needed"] else "BIRD ran before"
    for node, dead in birds[birds["state"] == "dead"].groupby("node", sort=False):
        four = bool((dead["family"] == 4).any())
        which = "BIRD" if four else "BIRD's IPv6 daemon (bird6)"
        also = ", and so is bird6" if four and len(dead) > 1 else ""
        yield finding(
            "bird-dead",
            subject={"node": node},
            cause=f"{which} on {node} is dead: {dead['why'].iloc[0]}{also}. BGP is in use ({reason}).",
            remedy=f"Check calico-node on {node}: its log (bird: …), `sv status {'bird' if four else 'bird6'}`, and "
            "whether CALICO_NETWORKING_BACKEND is bird; restarting the pod starts BIRD. Meanwhile its kernel routes "
            "stay and go stale; other nodes withdraw their routes to it.",
            evidence=[
                Rows.of(row.evidence_id, "bgp.birds", [{"node": node, "family": int(row.family)}], str(node))
                for row in records(dead)
            ],
        )


@check(
    "bgp-no-peers",
    needs={"use": "bgp.use", "expected": "bgp.expected", "nodes": "bgp.nodes", "configuration": "bgp.configuration"},
    absence=True,
)
def no_peers(
    use: pd.DataFrame, expected: pd.DataFrame, nodes: pd.DataFrame, configuration: pd.DataFrame
) -> Iterator[Finding]:
    """Nodes that need BGP to reach the others and have no peer configured."""
    addressed = nodes[nodes["address"].notna() | nodes["address6"].notna()]
    if not bool(use["pools_need"].fillna(False).iloc[0]) or len(addressed) < 2:
        return
    alone = addressed[~addressed["node"].isin(expected["node"].unique())]
    if not len(alone):
        return
    mesh = bool(configuration["mesh"].iloc[0])
    why = "the mesh excludes route reflectors" if mesh else "nodeToNodeMeshEnabled is false"
    yield finding(
        "bgp-no-peers",
        subject={"nodes": list(alone["node"])},
        cause=f"{plural(len(alone), 'node has', 'nodes have')} no BGP peer ({listed(alone['node'])}): {why}, and no "
        "BGPPeer selects them. BIRD runs without sessions and learns no route to other nodes' pods.",
        remedy="Add a BGPPeer for these nodes (to route reflectors or a router), or set nodeToNodeMeshEnabled: true in "
        "BGPConfiguration default.",
        evidence=[
            Rows.of("bgpconfigurations", "bgp.configuration", [{"mesh": mesh}]),
            Rows.of("nodes", "bgp.nodes", [{"node": n} for n in alone["node"]]),
        ],
    )


@check(
    "bgp-config-stale",
    needs={"differences": "bgp.config_differences", "use": "bgp.use"},
    wants={"confd": "bgp.confd", "birds": "bgp.birds", "compared": "bgp.compared"},
    absence=True,
)
def config_stale(
    differences: pd.DataFrame,
    use: pd.DataFrame,
    confd: pd.DataFrame | None = None,
    birds: pd.DataFrame | None = None,
    compared: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """bird.cfg or the running BIRD differs from the resources; or confd is dead, so that it soon will."""
    if use["in_use"].eq(False).iloc[0]:
        return
    logs = {} if confd is None else {r.node: r for r in records(confd)}
    cannot = {n for n, r in logs.items() if isinstance(r.no_password, str) and r.state == "logs"}
    secret = differences["field"].eq("password") & differences["node"].isin(cannot)
    told = differences[~secret]
    for node, group in told.groupby("node"):
        yield _stale(str(node), group, logs.get(str(node)))
    unsigned = set() if compared is None else _ends(compared[compared["cause"] == "md5"])
    runs = set() if birds is None else set(birds[birds["state"].isin(["answers", "dead"])]["node"])
    for node, log in logs.items():
        if log.state in ("ended", "failing") and node in runs and node not in set(told["node"]):
            yield _dead_confd(node, log, node in unsigned)


def _stale(node: str, group: pd.DataFrame, log: Any) -> Finding:
    first = next(records(group))
    more = f", and {plural(len(group) - 1, 'more difference')}" if len(group) > 1 else ""
    keys = [
        {"node": r.node, "protocol": r.protocol if isinstance(r.protocol, str) else None, "field": r.field}
        for r in records(group)
    ]
    source = "bird6.cfg" if first.where == "bird6.cfg" else "bird.cfg"
    evidence = [Rows.of(source, "bgp.config_differences", keys, node)]
    why = ""
    if log is not None and log.state != "logs":
        why = (
            f" confd {'has ended' if log.state == 'ended' else 'writes a configuration that BIRD cannot load'}: "
            f"{log.why}."
        )
        evidence.append(Rows.of("confd-log", "bgp.confd", [{"node": node}], node))
    return finding(
        "bgp-config-stale",
        subject={"node": node},
        cause=f"On {node}, {_said(first)}{more}.{why}",
        remedy=f"Never edit bird.cfg: confd writes it. Check that confd runs on {node} (`sv status confd`) and read "
        "its log; restarting calico-node regenerates the file.",
        evidence=evidence,
        about={p for p in group["peer"] if isinstance(p, str)},
    )


def _said(row: Any) -> str:
    """One difference in words."""
    line = "" if pd.isna(row.line) else f" (the block from line {row.line})"
    place = "the running BIRD" if row.where == "bird" else f"{row.where}{line}"
    asks = f" (from {row.why})" if isinstance(row.why, str) else ""
    if row.field == "session":
        lacks = isinstance(row.expected, str)
        about = asks if lacks else ", which no resource configures"
        return f"{place} {'lacks' if lacks else 'has'} the session {row.protocol}{about}"
    about = f" of {row.protocol}" if isinstance(row.protocol, str) else ""
    wants = row.expected if isinstance(row.expected, str) else "nothing"
    has = row.found if isinstance(row.found, str) else "nothing"
    return f"{place} has {row.field}{about} {has}, the resources have {wants}{asks}"


def _dead_confd(node: str, log: Any, unsigned: bool) -> Finding:
    """Without a visible difference; passwords are never read, but failing sessions show that one differs."""
    ended = log.state == "ended"
    rest = "bird.cfg is still correct, but changes no longer reach it"
    if unsigned:
        rest = "its sessions fail on the MD5 password, the only part of bird.cfg that is not compared"
    return finding(
        "bgp-config-stale",
        severity="" if unsigned else "warning",
        subject={"node": node},
        cause=f"confd on {node} {'has ended' if ended else 'writes a configuration that BIRD rejects'} ({log.why}); "
        f"{rest}.",
        remedy=f"Restart calico-node on {node}, and read confd's log.",
        evidence=[Rows.of("confd-log", "bgp.confd", [{"node": node}], node)],
    )


# ---- what the ends disagree on


@check(
    "bgp-as-mismatch",
    needs={"compared": "bgp.compared"},
    wants={"differences": "bgp.config_differences", "nodes": "bgp.nodes", "log": "bgp.session_log"},
    absence=True,
)
def as_mismatch(
    compared: pd.DataFrame,
    differences: pd.DataFrame | None = None,
    nodes: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """The two ends of a session disagree on AS numbers."""
    rows = compared[compared["cause"] == "as-mismatch"]
    outside = rows[~rows["internal"]]
    for peer, group in outside.groupby("peer", observed=True):
        yield _as_finding(str(peer), sorted(group["node"].astype("str")), group, log)
    inside = rows[rows["internal"].astype(bool)]
    suspects: list[str] = []
    if differences is not None:
        suspects += [*differences[differences["field"].isin(["local_as", "peer_as"])]["node"]] * 2
    if nodes is not None:
        suspects += [*nodes[nodes["own_as"].notna()]["node"]]
    for node, others in stars(_pairs(inside), suspects=suspects)[:MOST]:
        yield _as_finding(node, others, _between(inside, node, others), log)


def _as_finding(peer: str, nodes: list[str], rows: pd.DataFrame, log: pd.DataFrame | None) -> Finding:
    known = rows["wrong_as"].dropna()
    seen = (
        f" OPEN messages carried AS {listed(sorted(set(known)))}, which the receiving end is not configured for."
        if len(known)
        else ""
    )
    return finding(
        "bgp-as-mismatch",
        subject={"peer": peer, "nodes": nodes},
        cause=f"{peer} and {listed(nodes)} disagree on AS numbers: {_worst(rows)}.{seen}",
        remedy="Configure the same AS at both ends: asNumber of the BGPPeer (external router), of BGPConfiguration "
        "default, or of the node (annotation projectcalico.org/ASNumber).",
        evidence=[*_evidence(rows), *_logged(rows, log)],
        about={peer, *nodes},
    )


@check(
    "bgp-password-mismatch",
    needs={"compared": "bgp.compared"},
    wants={"md5": "bgp.md5", "differences": "bgp.config_differences"},
    absence=True,
)
def password_mismatch(
    compared: pd.DataFrame, md5: pd.DataFrame | None = None, differences: pd.DataFrame | None = None
) -> Iterator[Finding]:
    """The two ends of a session disagree on the TCP MD5 password."""
    rows = compared[compared["cause"] == "md5"]
    if not len(rows):
        return
    odd = [] if differences is None else list(differences[differences["field"] == "password"]["node"])
    inside, outside = rows[rows["internal"].astype(bool)], rows[~rows["internal"].astype(bool)]
    pairs = [(node, other) for node, others in stars(_pairs(inside), suspects=odd) for other in others]
    pairs += list(cells(outside.astype({"node": "str", "peer": "str"}), "node", "peer"))
    for node, peer in pairs[:MOST]:
        mine = _between(rows, node, [peer])
        counts = "" if md5 is None else _dropped(md5[md5["node"].isin([node, peer])])
        yield finding(
            "bgp-password-mismatch",
            subject={"node": node, "peer": peer},
            cause=f"{node} and {peer} disagree on the TCP MD5 password: no TCP connection is established "
            f"({_worst(mine)}){counts}.",
            remedy="Compare the Secret referenced by password.secretKeyRef (BGPPeer) or nodeMeshPassword "
            "(BGPConfiguration) with the other end's password, and check in confd's log that it was read.",
            evidence=[*_evidence(mine), *([] if md5 is None else [_counters(md5, node, peer)])],
            about={node, peer},
        )


def _dropped(counters: pd.DataFrame) -> str:
    words = {
        "missing": "without an MD5 signature",
        "unexpected": "with an unexpected signature",
        "wrong": "with a wrong signature",
    }
    said = [
        f"{row.node} dropped {plural(int(getattr(row, c)), 'segment')} {text}"
        for row in records(counters)
        for c, text in words.items()
        if pd.notna(getattr(row, c)) and getattr(row, c) > 0
    ]
    return f"; {', '.join(said)}" if said else ""


def _counters(md5: pd.DataFrame, *nodes: str) -> Rows:
    return Rows.of("nstat", "bgp.md5", [{"node": n} for n in nodes if n in set(md5["node"])])


# ---- sessions


WHY = {
    "bird-dead": "peer-dead",
    "peer-dead": "peer-dead",
    **{w: w for w in ("port-in-use", "md5", "tcp-179-blocked", "connection-refused", "no-route", "hold-timer-expired")},
}
"""Cause of a session → its `why` value in the finding; all others are unknown."""

REMEDIES = {
    "peer-dead": "See bird-dead: the sessions recover with BIRD.",
    "port-in-use": "Find the process that holds BIRD's port (`ss -tlnp 'sport = :179'`), stop it, and restart BIRD "
    "there.",
    "md5": "See bgp-password-mismatch.",
    "tcp-179-blocked": "Open TCP 179 between all nodes, towards the listening node and from it: `iptables-save`, "
    "`nft list ruleset`, security groups and network policies on hosts.",
    "connection-refused": "Check the port and address that the other end's BIRD listens on (listenPort, bindMode), "
    "and look for a REJECT rule.",
    "no-route": "`ip route get` and `ip neigh` of the other end's address; check that both nodes' addresses are right.",
    "hold-timer-expired": "Check loss, MTU and load between the nodes: `ping -M do -s 1472`, `tc -s qdisc`, "
    "interface counters.",
    UNKNOWN: "Read the BIRD logs of both ends around the time of the change, and `birdcl show protocols all`.",
}


@check(
    "bgp-session-down",
    needs={"compared": "bgp.compared"},
    wants={"firewall": "bgp.firewall", "birds": "bgp.birds", "sockets": "bgp.sockets", "log": "bgp.daemon_log"},
    absence=True,
)
def session_down(
    compared: pd.DataFrame,
    firewall: pd.DataFrame | None = None,
    birds: pd.DataFrame | None = None,
    sockets: pd.DataFrame | None = None,
    log: pd.DataFrame | None = None,
) -> Iterator[Finding]:
    """Sessions between nodes that are down, one finding per node that they have in common."""
    rows = compared[
        compared["internal"].astype(bool)
        & compared["status"].isin(["down", "one-sided"])
        & ~compared["cause"].isin(["as-mismatch"])
    ]
    if not len(rows):
        return
    families = set(rows["family"])
    dead = set() if birds is None else set(birds[(birds["state"] == "dead") & birds["family"].isin(families)]["node"])
    taken = set(_no_port(rows, log))
    walled = [] if firewall is None else list(firewall[firewall["version"].isin(families)]["node"])
    asked = rows[rows["bgp_state"] == "Connect"]["peer"].astype("str").tolist()
    missing = rows[rows["cause"] == "config-stale"]["node"].astype("str").tolist()
    found = stars(_pairs(rows), first=[*dead, *taken], suspects=[*walled * 4, *missing * 2, *asked])
    for node, others in found[:MOST]:
        mine = _between(rows, node, others)
        cause = _cause(mine)
        left = f" {plural(len(found) - MOST, 'more node')} with sessions down not listed." if len(found) > MOST else ""
        yield finding(
            "bgp-session-down",
            severity="info" if cause == "graceful-restart" else "",
            subject={"node": node, "peers": others, "why": WHY.get(cause, UNKNOWN)},
            cause=f"{plural(len(others), _session_word(mine, compared))} of {node} "
            f"{'is' if len(others) == 1 else 'are'} down, to "
            f"{listed(others)}: {_reason(cause, node, mine, firewall)}{_worst(mine)}.{left}",
            remedy=REMEDIES[WHY.get(cause, UNKNOWN)],
            evidence=[*_evidence(mine), *_more(cause, node, others, firewall, sockets, birds)],
            about={node, *others, cause},
        )


def _session_word(rows: pd.DataFrame, compared: pd.DataFrame) -> str:
    """What to call these sessions, where the cluster has those of both families and these are of one."""
    mine = set(rows["family"])
    return f"IPv{mine.pop()} session" if len(mine) == 1 and compared["family"].nunique() > 1 else "session"


def _no_port(rows: pd.DataFrame, log: pd.DataFrame | None) -> Iterator[str]:
    """Nodes whose BIRD cannot listen."""
    if log is not None:
        yield from log[log["no_socket"].notna()]["node"]
    yield from rows[rows["last_error"].astype("str").str.contains("No listening socket")]["node"].astype("str").unique()


REASONS = {
    "bird-dead": "its BIRD is dead; ",
    "peer-dead": "its BIRD is dead; ",
    "port-in-use": "its BIRD cannot listen, as another process holds the port; ",
    "md5": "the ends disagree on the TCP MD5 password; ",
    "tcp-179-blocked": "connections to TCP 179 get no reply, although both BIRDs run and listen; ",
    "connection-refused": "connections are refused; ",
    "no-route": "no route to the other end; ",
    "hold-timer-expired": "the hold timer expired: no message arrived; ",
    "config-stale": "its BIRD does not have these sessions; ",
    "peer-unknown": "the other end does not have these sessions; ",
    "disabled": "they are disabled in BIRD; ",
    "wrong-address": "the address that Calico uses for a node is not reachable for its peers; ",
    "no-answer": "connections get no reply, and the other end's state is unknown; ",
    "graceful-restart": "graceful restart in progress; ",
}


def _reason(cause: str, node: str, rows: pd.DataFrame, firewall: pd.DataFrame | None) -> str:
    versions = set(rows["family"])
    walls = firewall if firewall is None else firewall[firewall["version"].isin(versions)]
    rules = [] if walls is None else list(walls[walls["node"] == node]["rule"])
    if cause == "tcp-179-blocked" and rules:
        return f"a rule on {node} blocks TCP 179 ({rules[0]}); "
    return REASONS.get(cause, "the evidence shows no cause; ")


def _cause(rows: pd.DataFrame) -> str:
    """What most of the sessions say, where something is known."""
    causes = rows["cause"].astype("str")
    known = causes[~causes.isin([UNKNOWN, "no-answer"])]
    return str((known if len(known) else causes).mode().iloc[0])


def _more(
    cause: str,
    node: str,
    others: list[str],
    firewall: pd.DataFrame | None,
    sockets: pd.DataFrame | None,
    birds: pd.DataFrame | None,
) -> Iterator[Rows]:
    """Rows beside the sessions' own that say the same."""
    ends = [node, *others]
    if cause == "tcp-179-blocked" and firewall is not None:
        rules = firewall[firewall["node"].isin(ends)]
        for (backend, version), mine in rules.groupby(["backend", "version"]):
            keys = [{"node": r.node, "rule": r.rule} for r in records(mine)]
            yield Rows.of(source_of(str(backend), "ip6" if version == 6 else "ip"), "bgp.firewall", keys)
    if cause in ("tcp-179-blocked", "no-answer", "port-in-use") and sockets is not None:
        half = sockets[sockets["node"].isin(ends) & ((sockets["state"] == "SYN-SENT") | (cause == "port-in-use"))]
        yield Rows.of("ss-bgp", "bgp.sockets", [{"node": r.node, "line": int(r.line)} for r in records(half)])
    if cause in ("bird-dead", "peer-dead") and birds is not None:
        yield Rows.of("birdcl-protocols", "bgp.birds", [{"node": node}], node)


@check("bgp-session-flapping", needs={"compared": "bgp.compared"}, wants={"log": "bgp.session_log"})
def session_flapping(compared: pd.DataFrame, log: pd.DataFrame | None = None) -> Iterator[Finding]:
    """Sessions that went down and came back again and again; under the node that closes them."""
    if log is None:
        return
    rows = compared[compared["status"] == "flapping"].astype({"node": "str", "peer": "str", "protocol": "str"})
    flaps = rows.merge(log.astype({"node": "str", "protocol": "str"}), on=["node", "protocol"], suffixes=("", "_log"))
    outside = set(flaps[~flaps["internal"].astype(bool)]["peer"])
    closers: list[str] = []
    for row in records(flaps):
        closers += [row.node] * int(row.closed_here) + [row.peer] * int(row.closed_there)
    found = stars(cells(flaps, "node", "peer"), suspects=closers)
    for center, others in found[:MOST]:
        at_fault = others if center in outside else [center]  # a finding's node is one of the cluster's
        for node in at_fault:
            mine = flaps[(flaps["node"] == node) | (flaps["peer"] == node)]
            peers = sorted({center} if center in outside else set(others))
            last = next((t for t in mine["last_drop"].astype(object) if isinstance(t, str)), "no reason logged")
            yield finding(
                "bgp-session-flapping",
                subject={"node": node, "peers": peers},
                cause=f"Sessions of {node} with {listed(peers)} went down and came back up to {mine['returns'].max()} "
                f"times; the last time: {last}.",
                remedy=meaning(None, last).next
                or "Read BIRD's log at both ends around the times of the state changes.",
                evidence=[
                    Rows.of(
                        "bird-log",
                        "bgp.session_log",
                        [{"node": r.node, "protocol": r.protocol} for r in records(mine)],
                    )
                ],
            )


@check("bgp-external-peer-down", needs={"compared": "bgp.compared"}, absence=True)
def external_peer_down(compared: pd.DataFrame) -> Iterator[Finding]:
    """A router outside the cluster that nodes should peer with and do not."""
    rows = compared[
        ~compared["internal"].astype(bool)
        & compared["status"].isin(["down"])
        & compared["kind"].isin(["Global", "Node"])
        & ~compared["cause"].isin(["as-mismatch", "md5", "bird-dead", "port-in-use"])
    ]
    for peer, group in rows.groupby("peer", observed=True):
        nodes = sorted(group["node"].astype("str"))
        cause = _cause(group)
        said = {"config-stale": "BIRD does not have the session; ", "disabled": REASONS["disabled"]}.get(cause, "")
        all_ = compared[(compared["peer"] == peer) & compared["expected"].astype(bool)]
        yield finding(
            "bgp-external-peer-down",
            subject={"peer": str(peer), "nodes": nodes},
            cause=f"{peer} is down on {len(nodes)} of {plural(len(all_), 'node')} that should peer with it "
            f"({listed(nodes)}): {said}{_worst(group)}.",
            remedy=_next(group) or "Check the router's own BGP state, and TCP 179 between it and these nodes.",
            evidence=_evidence(group),
            about={*nodes, cause},
        )


@check("rr-not-redundant", needs={"expected": "bgp.expected", "nodes": "bgp.nodes"}, absence=True)
def rr_not_redundant(expected: pd.DataFrame, nodes: pd.DataFrame) -> Iterator[Finding]:
    """All nodes get their routes from one route reflector."""
    clients = expected[expected["rr_client"].astype(bool) & expected["internal"].astype(bool)]
    reflectors = sorted(clients["node"].astype("str").unique())
    served = sorted(set(clients["peer"].astype("str")))
    if len(reflectors) != 1 or len(served) < 2:
        return
    mine = expected[expected["node"].isin(served) & expected["internal"].astype(bool)]
    if set(mine["peer"].astype("str")) - set(reflectors):
        return  # the clients also peer with each other
    reflector = reflectors[0]
    yield finding(
        "rr-not-redundant",
        subject={"nodes": reflectors},
        cause=f"{reflector} is the only route reflector of {plural(len(served), 'node')} ({listed(served)}): without "
        "it they lose the routes to each other's pods.",
        remedy="Add a second route reflector: same cluster ID (annotation "
        "projectcalico.org/RouteReflectorClusterID), and the label that the BGPPeer's peerSelector matches.",
        evidence=[Rows.of("nodes", "bgp.nodes", [{"node": reflector}])],
    )


# ---- bits


def _pairs(rows: pd.DataFrame) -> Iterable[tuple[str, str]]:
    """Each pair of nodes once."""
    ends = rows[["node", "peer"]].astype("str").drop_duplicates()
    return sorted({(min(p), max(p)) for p in cells(ends, "node", "peer")})


def _ends(rows: pd.DataFrame) -> set[str]:
    """Nodes at either end."""
    inside = rows[rows["internal"].astype(bool)]
    return {*rows["node"].astype("str"), *inside["peer"].astype("str")}


def _between(rows: pd.DataFrame, node: str, others: list[str]) -> pd.DataFrame:
    """The sessions between a node and these, seen from either end."""
    mine = (rows["node"] == node) & rows["peer"].isin(others) | (rows["peer"] == node) & rows["node"].isin(others)
    return rows[mine]


def _evidence(rows: pd.DataFrame) -> list[Rows]:
    """The sessions' rows, by what shows them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in records(rows):
        source = SOURCES.get(row.source, "birdcl-protocols-all")
        if row.family == 6 and source.startswith("bird"):
            source = source.replace("birdcl", "birdcl6").replace("bird-log", "bird6-log")
        key = {"node": row.node, "protocol": row.protocol, "family": int(row.family)}
        found.setdefault(source, []).append(key)
    return [Rows.of(source, "bgp.compared", keys) for source, keys in found.items()]


def _logged(rows: pd.DataFrame, log: pd.DataFrame | None) -> list[Rows]:
    """The rows of the sessions' logs that name a wrong AS."""
    if log is None:
        return []
    named = log[log["wrong_as"].notna()].astype({"node": "str", "protocol": "str"})
    ends = set(cells(rows.astype({"node": "str", "protocol": "str"}), "node", "protocol"))
    keys = [{"node": n, "protocol": p} for n, p in cells(named, "node", "protocol") if (n, p) in ends]
    return [Rows.of("bird-log", "bgp.session_log", keys)]


def _worst(rows: pd.DataFrame) -> str:
    """What the ends say, the most telling first."""
    texts: dict[str, None] = {}
    for row in records(rows.sort_values("last_error", na_position="last").head(200)):
        if row.bgp_state != "Established":
            texts[_words(row)] = None
    shown = list(texts)[:2]
    return "; ".join(shown) if shown else "only the other end reports it down"


def _words(row: Any) -> str:
    state = row.bgp_state if isinstance(row.bgp_state, str) else "no session"
    error = f", {row.last_error}" if isinstance(row.last_error, str) else ""
    return f"{row.node} says {state}{error}"


def _next(rows: pd.DataFrame) -> str:
    told = [meaning(r.bgp_state, r.last_error if isinstance(r.last_error, str) else None) for r in records(rows)]
    return next((t.next for t in told if t.next), "")


# ---- what explains what


@explains("bird-dead", "bgp-session-down", on="node", of=about)
def _no_bird(cause: Finding, effect: Finding) -> bool:
    return bool(effect.subject["why"] == "peer-dead")


@explains("bgp-config-stale", "bgp-as-mismatch")
def _edited_as(cause: Finding, effect: Finding) -> bool:
    """The stale node is the one that the others disagree with, or the only one that disagrees."""
    return cause.severity == "critical" and _concerns(cause, effect.subject["peer"], effect.subject["nodes"])


@explains("bgp-config-stale", "bgp-password-mismatch", on="node", of=about)
def _edited_password(cause: Finding, effect: Finding) -> bool:
    return cause.severity == "critical"


@explains("bgp-config-stale", "bgp-session-down")
def _edited_session(cause: Finding, effect: Finding) -> bool:
    """What the stale node does not have, or has otherwise; a dead BIRD or a closed port is no matter of the file."""
    known = effect.subject["why"] in (UNKNOWN, "md5", "connection-refused")
    return cause.severity == "critical" and known and _concerns(cause, effect.subject["node"], effect.subject["peers"])


@explains("bgp-config-stale", "bgp-external-peer-down")
def _edited_external(cause: Finding, effect: Finding) -> bool:
    return cause.severity == "critical" and list(effect.subject["nodes"]) == [cause.subject["node"]]


def _concerns(cause: Finding, center: str, others: list[str]) -> bool:
    node = cause.subject["node"]
    return bool(node == center or list(others) == [node])


@explains("bgp-password-mismatch", "bgp-session-down")
def _wrong_password(cause: Finding, effect: Finding) -> bool:
    return effect.subject["why"] == "md5" and {cause.subject["node"], cause.subject["peer"]} <= effect.about


@explains("foreign-drop-rule", "bgp-session-down", on="node", of=about)
def _walled(cause: Finding, effect: Finding) -> bool:
    blocked = effect.subject["why"] in ("tcp-179-blocked", "connection-refused", "no-route", "hold-timer-expired")
    return blocked and "BGP" in cause.about


@explains("hostendpoint-lockout", "bgp-session-down", on="node", of=about)
def _locked_out(cause: Finding, effect: Finding) -> bool:
    return effect.subject["why"] in ("tcp-179-blocked", UNKNOWN)


explains("node-address-wrong", "bgp-session-down", on="node", of=about)(always)


explains("datastore-unreachable", "bgp-config-stale", on="node")(always)


@explains("interface-loss", "bgp-session-down", on="node", of=about)
def _lossy(cause: Finding, effect: Finding) -> bool:
    return effect.subject["why"] in ("hold-timer-expired", UNKNOWN)


@explains("interface-loss", "bgp-session-flapping")
def _lossy_flapping(cause: Finding, effect: Finding) -> bool:
    return cause.subject["node"] in (effect.subject["node"], *effect.subject["peers"])


for _cause_id in ("bird-dead", "bgp-config-stale", "bgp-session-down"):
    explains(_cause_id, "calico-pod-not-ready", on="node", of=seen_on)(always)
