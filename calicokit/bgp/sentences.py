"""Meanings of BIRD's states and errors, and summaries of BGP's tables.

Sources of the meanings: BIRD's proto/bgp/bgp.c and packets.c (states, classes of errors, texts of NOTIFICATIONs).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from calicokit.sentences import first_upper, listed, number, plural, says


@dataclass(frozen=True)
class Meaning:
    """Meaning of a state or error of a session, and what to try next."""

    means: str
    next: str = ""


NOT_UP = "not up"
"""State of a session known only from a log."""

STATES = {
    "Established": Meaning("The session is up."),
    "Passive": Meaning(
        "Passive: this end waits for the peer to connect, and no connection arrives.",
        "Check the peer: does its BIRD run, does it have a session to this address, is TCP 179 open towards this node?",
    ),
    "Connect": Meaning(
        "The TCP connection attempt gets no reply: packets are dropped, or nobody has the address.",
        "Check firewalls on TCP 179 at both ends, the address, and whether only one end has a TCP MD5 password.",
    ),
    "Active": Meaning("Waiting two seconds before the next attempt.", "Read the last error."),
    "Idle": Meaning("Waiting 5 to 30 seconds after a protocol error.", "Read the last error."),
    "OpenSent": Meaning(
        "TCP is up, but the peer does not answer the OPEN.",
        "The peer's BIRD hangs, has no session to this end, or full-size packets are lost (MTU).",
    ),
    "OpenConfirm": Meaning("OPENs were exchanged, but the first KEEPALIVE is missing.", "Read the peer's log."),
    NOT_UP: Meaning("The session is not up; the log shows no more.", "Read the last error, and birdcl show protocols."),
    "Close": Meaning("The session is being closed."),
    "Down": Meaning("The session is disabled.", "birdcl enable NAME; read the last error, if there is one."),
}
"""BIRD's state of a session → its meaning."""

ERRORS: tuple[tuple[str, Meaning], ...] = (
    (
        "Bad peer AS",
        Meaning(
            "AS number mismatch between the two ends.",
            "Compare the AS in the OPEN (see BIRD's log) with asNumber of BGPPeer, BGPConfiguration and the node.",
        ),
    ),
    (
        "Bad BGP identifier",
        Meaning("Both ends have the same router id.", "Look for a duplicate node address or CALICO_ROUTER_ID."),
    ),
    (
        "Hold timer expired",
        Meaning(
            "No message from the peer within the hold time (240 seconds): packets are lost, or its BIRD hangs.",
            "Check loss and MTU between the two nodes, and the load of the peer.",
        ),
    ),
    ("Administrative reset", Meaning("The peer restarted the session.", "Check whether it comes back.")),
    ("Administrative shutdown", Meaning("The peer's BIRD was stopped.", "Check whether its BIRD runs.")),
    (
        "Peer de-configured",
        Meaning("The peer removed this session from its configuration.", "Compare both ends' bird.cfg."),
    ),
    ("Other configuration change", Meaning("The peer changed the session's settings and restarts it.")),
    ("Connection collision", Meaning("Both ends connected at once; one connection was closed. Harmless.")),
    ("Connection rejected", Meaning("The peer already has this session.")),
    (
        "Connection refused",
        Meaning(
            "The peer's kernel refuses: its BIRD is not running or listens elsewhere, or a firewall rejects.",
            "Check whether its BIRD runs and on which port it listens; look for a REJECT rule.",
        ),
    ),
    ("Connection reset", Meaning("The peer reset the connection without a NOTIFICATION.", "Read the peer's log.")),
    ("Connection closed", Meaning("The connection was closed without a NOTIFICATION.", "Read both ends' logs.")),
    ("Connection timed out", Meaning("The peer stopped answering.", "Check the path between the two.")),
    (
        "No route to host",
        Meaning("The peer does not answer ARP, or a firewall rejects.", "ip neigh; look for a REJECT rule."),
    ),
    ("Host is unreachable", Meaning("A router or firewall on the path rejects.", "ip route get ADDRESS.")),
    ("Network is unreachable", Meaning("There is no route to the peer.", "ip route get ADDRESS.")),
    (
        "Cannot assign requested address",
        Meaning("The session's local address is on no interface.", "Compare the node's IPv4Address with ip addr."),
    ),
    (
        "No listening socket",
        Meaning("BIRD could not bind its port: another process holds it.", "ss -tlnp 'sport = :179'"),
    ),
    (
        "Kernel MD5 auth failed",
        Meaning("The kernel could not set the TCP MD5 password.", "Check its length (at most 80)."),
    ),
    (
        "Authentication failure",
        Meaning("The peer rejects the authentication.", "Compare the passwords of both ends."),
    ),
    ("Graceful restart", Meaning("The peer is restarting; its routes are kept meanwhile.")),
    ("Invalid next hop", Meaning("The peer's address is not on a network of this node.")),
    ("Neighbor lost", Meaning("The network to the peer disappeared.")),
    ("Link down", Meaning("The interface to the peer is down.")),
    ("Route limit exceeded", Meaning("The peer sent more routes than allowed.")),
    ("Out of Resources", Meaning("The peer is out of resources.")),
    ("Unsupported", Meaning("The peer does not support a requested capability.")),
    ("Required capability missing", Meaning("The peer does not support a requested capability.")),
    ("Cease", Meaning("The peer closed the session.", "Read its log.")),
)
"""Substring of an error → its meaning; the first match counts."""


def meaning(state: str | None, error: str | None = None) -> Meaning:
    """What a session's state and last error mean; the error tells more, where there is one.

    >>> meaning("Idle", "BGP Error: Bad peer AS").means
    'AS number mismatch between the two ends.'
    >>> meaning("Passive").means
    'Passive: this end waits for the peer to connect, and no connection arrives.'
    """
    if state != "Established" and isinstance(error, str):
        for part, told in ERRORS:
            if part in error:
                return told
    return STATES.get(state or "", Meaning(""))


# ---- sentences


@says
def use(use: pd.DataFrame) -> str:
    """Whether BGP is in use, and why (``bgp.use``)."""
    row = use.iloc[0]
    ran = f" BIRD ran on {plural(len(row['ran']), 'node')}." if row["ran"] else " BIRD was not seen on any node."
    if pd.isna(row["in_use"]):
        return f"Whether BGP is in use is unknown: {row['why']}."
    if not row["in_use"]:
        return f"BGP is not in use: {row['why']}.{ran} The rest of this notebook does not apply."
    if pd.notna(row["needed"]) and bool(row["needed"]):
        return f"BGP is in use, and needed: {row['why']}.{ran}"
    return f"BGP runs although it is not needed ({row['why']}).{ran}"


@says
def configuration(configuration: pd.DataFrame, peers: pd.DataFrame, nodes: pd.DataFrame) -> str:
    """The configured topology (``bgp.configuration``, ``bgp.peers``, ``bgp.nodes``)."""
    row = configuration.iloc[0]
    mesh = (
        "Node-to-node mesh is enabled: every node peers with every other"
        if row["mesh"]
        else "The node-to-node mesh is disabled"
    )
    reflectors = list(nodes[nodes["cluster_id"].notna()]["node"])
    own = nodes[nodes["own_as"].notna()]
    parts = [
        f"{mesh}; {plural(len(peers), 'BGPPeer adds', 'BGPPeers add')} to it.",
        f"The cluster's AS is {row['as_number']}"
        + (f"; {plural(len(own), 'node has', 'nodes have')} an AS of their own." if len(own) else "."),
        f"Route reflectors: {listed(reflectors)}." if reflectors else "There is no route reflector.",
    ]
    bare = list(nodes[nodes["address"].isna() & nodes["address6"].isna()]["node"])
    if bare:
        parts.append(f"Without a BGP address, so that no node peers with them: {listed(bare)}.")
    return " ".join(parts)


@says
def expected(expected: pd.DataFrame) -> str:
    """Number of sessions that the resources configure (``bgp.expected``)."""
    if not len(expected):
        return "The resources configure no session."
    whys = expected["why"].value_counts()
    by_why = "; ".join(f"{number(n)} by {w}" for w, n in whys.head(3).items() if n)
    outside = int((~expected["internal"].astype(bool)).sum())
    waits = int(expected["passive"].sum())
    ends = plural(len(expected), "end of a session is", "ends of sessions are")
    waiting = first_upper(plural(waits, "end waits", "ends wait"))
    return (
        f"{ends} configured on {plural(expected['node'].nunique(), 'node')} ({by_why}); "
        f"{number(outside) if outside else 'none'} of them to external peers. {waiting} for the peer to connect "
        "(passive)."
    )


@says
def compared(compared: pd.DataFrame) -> str:
    """Expected compared with actual sessions (``bgp.compared``)."""
    if not len(compared):
        return "There is no session to compare."
    counts = compared["status"].astype("str").value_counts()
    total = plural(len(compared), "end", "ends")
    odd = compared[~compared["status"].isin(["up"])]
    if not len(odd):
        return f"All {total} of sessions are up, as configured."
    causes = odd["cause"].dropna().astype("str").value_counts()
    why = f" Causes: {', '.join(f'{c} ({n})' for c, n in causes.items())}." if len(causes) else ""
    said = ", ".join(f"{n} {s}" for s, n in counts.items())
    return f"Of {total} of sessions: {said}.{why} Affected: {listed(odd['node'].astype('str').unique())}."


@says
def birds(birds: pd.DataFrame) -> str:
    """Nodes on which BIRD is alive (``bgp.birds``)."""
    dead = birds[birds["state"] == "dead"]
    if len(dead):
        which = "BIRD's IPv6 daemon (bird6)" if dead["family"].eq(6).all() else "BIRD"
        return f"{which} is dead on {listed(sorted(set(dead['node'])))}: {dead['why'].iloc[0]}."
    if (birds["state"] == "none").all():
        return "No node runs BIRD, and none needs it."
    unknown = birds[birds["state"] == "unknown"]
    answers = birds[birds["state"] == "answers"]
    which = "BIRD answers, for IPv4 and IPv6," if answers["family"].nunique() > 1 else "BIRD answers"
    said = f"{which} on {plural(answers['node'].nunique(), 'node')}."
    return said + (f" Unknown on {listed(sorted(set(unknown['node'])))}." if len(unknown) else "")


@says
def differences(differences: pd.DataFrame, birds: pd.DataFrame) -> str:
    """Whether bird.cfg and the running BIRD match the resources (``bgp.config_differences``, ``bgp.birds``)."""
    if (birds["state"] == "none").all():
        return "No node runs BIRD: there is no configuration to compare."
    if not len(differences):
        return "bird.cfg and the running BIRD match the resources on every node seen."
    nodes = differences["node"].unique()
    row = differences.iloc[0]
    line = f" (the block from line {row['line']})" if pd.notna(row["line"]) else ""
    wants, has = (row[c] if isinstance(row[c], str) else "nothing" for c in ("expected", "found"))
    return (
        f"{plural(len(differences), 'difference')} on {listed(nodes)}. The first: {row['where']}{line} has "
        f"{row['field']} {has}, the resources have {wants}."
    )


@says
def reflectors(expected: pd.DataFrame) -> str:
    """Route reflectors and their clients (``bgp.expected``)."""
    clients = expected[expected["rr_client"].astype(bool) & expected["internal"].astype(bool)]
    if not len(clients):
        return "There is no route reflector."
    by_node = clients.groupby("node", observed=True)["peer"].nunique()
    served = ", ".join(f"{n} serves {c}" for n, c in by_node.items())
    lone = " That is a single point of failure." if len(by_node) == 1 else ""
    return f"{plural(len(by_node), 'route reflector')}: {served}.{lone}"


@says
def log(log: pd.DataFrame) -> str:
    """History of the sessions (``bgp.session_log``)."""
    if not len(log):
        return "BIRD's log has no line about any session."
    drops, returns = int(log["drops"].sum()), int(log["returns"].max())
    if not drops:
        return f"None of the {plural(len(log), 'session')} in the logs went down after having been up."
    worst = log.sort_values("drops").iloc[-1]
    return (
        f"Sessions went down {plural(drops, 'time')} after having been up, most often {worst['protocol']} on "
        f"{worst['node']} ({worst['drops']}); none came back more than {plural(returns, 'time')}."
    )


@says
def path(steps: pd.DataFrame) -> str:
    """Result of the guide's steps for the first pair (``bgp.steps``)."""
    if not len(steps):
        return "There is no session to diagnose."
    first = steps[(steps["node"] == steps["node"].iloc[0]) & (steps["peer"] == steps["peer"].iloc[0])]
    wrong = first[first["verdict"] == "wrong"]
    pair = f"{first['node'].iloc[0]} and {first['peer'].iloc[0]}"
    pairs = steps[["node", "peer"]].drop_duplicates()
    if not len(wrong):
        return f"Between {pair} every step that could be answered is fine."
    more = f" {first_upper(plural(len(pairs) - 1, 'more pair'))} in the table." if len(pairs) > 1 else ""
    return f"Between {pair}: {first['known'].iloc[-1]}.{more}"
