"""What BIRD's words mean, and what BGP's tables mean in sentences.

Sources of the meanings: BIRD's proto/bgp/bgp.c and packets.c (states, classes of errors, texts of NOTIFICATIONs).
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from calicokit.sentences import first_upper, listed, number, plural, says


@dataclass(frozen=True)
class Meaning:
    """What a state or error means for a session of Calico's, and what to try next."""

    means: str
    next: str = ""


NOT_UP = "not up"
"""State of a session that only a log tells of, which does not say more."""

STATES = {
    "Established": Meaning("The session is up."),
    "Passive": Meaning(
        "This end waits for the other to connect, and nobody connects.",
        "Look at the other end: does its BIRD run, has it a session to this address, is TCP 179 open towards here?",
    ),
    "Connect": Meaning(
        "A connection was asked for and nothing answers: the packets are dropped, or the address is nobody's.",
        "Look for a firewall on TCP 179 at both ends, at the address, and at a TCP MD5 password that only one end has.",
    ),
    "Active": Meaning("It waits two seconds before the next attempt.", "Read the last error."),
    "Idle": Meaning("It waits 5 to 30 seconds after an error of the protocol.", "Read the last error."),
    "OpenSent": Meaning(
        "TCP is up and the other end does not answer the OPEN.",
        "The other BIRD hangs, does not know this end, or packets of full size are lost (MTU).",
    ),
    "OpenConfirm": Meaning("OPENs were exchanged, the first KEEPALIVE is missing.", "Look at the other end's log."),
    NOT_UP: Meaning(
        "The session is not up; a log alone tells no more.", "Read the last error, and birdcl show protocols."
    ),
    "Close": Meaning("The session is being closed."),
    "Down": Meaning("The session is switched off.", "birdcl enable NAME; read the last error, if there is one."),
}
"""BIRD's state of a session → its meaning."""

ERRORS: tuple[tuple[str, Meaning], ...] = (
    (
        "Bad peer AS",
        Meaning(
            "The ends disagree on the AS of one of them.",
            "Compare the AS in the OPEN (BIRD's log names it) with asNumber of BGPPeer, BGPConfiguration and the node.",
        ),
    ),
    (
        "Bad BGP identifier",
        Meaning(
            "Both ends have the same router id.", "Look for a node address or CALICO_ROUTER_ID that is used twice."
        ),
    ),
    (
        "Hold timer expired",
        Meaning(
            "Nothing came from the other end for the hold time (240 seconds): packets are lost, or its BIRD hangs.",
            "Look at loss and MTU between the two nodes and at the load of the other one.",
        ),
    ),
    ("Administrative reset", Meaning("The other end restarted the session.", "See whether it comes back.")),
    ("Administrative shutdown", Meaning("The other end's BIRD was stopped.", "See whether its BIRD runs.")),
    (
        "Peer de-configured",
        Meaning("The other end took this session out of its configuration.", "Compare both ends' bird.cfg."),
    ),
    ("Other configuration change", Meaning("The other end changed the session's settings and restarts it.")),
    ("Connection collision", Meaning("Both ends connected at once; one connection was given up. Harmless.")),
    ("Connection rejected", Meaning("The other end has this session already.")),
    (
        "Connection refused",
        Meaning(
            "The other end's kernel refuses: its BIRD does not run or listens elsewhere, or a firewall rejects.",
            "See whether its BIRD runs and on which port it listens; look for a REJECT rule.",
        ),
    ),
    ("Connection reset", Meaning("The other end dropped the connection without a word.", "Read the other end's log.")),
    ("Connection closed", Meaning("The connection ended without a word.", "Read both ends' logs.")),
    ("Connection timed out", Meaning("The other end stopped answering.", "Look at the path between the two.")),
    (
        "No route to host",
        Meaning("The other end does not answer ARP, or a firewall rejects.", "ip neigh; look for a REJECT rule."),
    ),
    ("Host is unreachable", Meaning("A router or firewall on the way rejects.", "ip route get ADDRESS.")),
    ("Network is unreachable", Meaning("There is no route to the other end.", "ip route get ADDRESS.")),
    (
        "Cannot assign requested address",
        Meaning("The session's own address is on no interface.", "Compare the node's IPv4Address with ip addr."),
    ),
    (
        "No listening socket",
        Meaning("BIRD could not open its port: another process has it.", "ss -tlnp 'sport = :179'"),
    ),
    ("Kernel MD5 auth failed", Meaning("The kernel could not set the TCP MD5 password.", "Look at its length (80).")),
    (
        "Authentication failure",
        Meaning("The other router refuses the authentication.", "Compare the passwords of both ends."),
    ),
    ("Graceful restart", Meaning("The other end restarts, and its routes are kept meanwhile.")),
    ("Invalid next hop", Meaning("The other end's address is not on a network of this node.")),
    ("Neighbor lost", Meaning("The network to the other end went away.")),
    ("Link down", Meaning("The interface to the other end is down.")),
    ("Route limit exceeded", Meaning("The other end sent more routes than allowed.")),
    ("Out of Resources", Meaning("The other router has no room.")),
    ("Unsupported", Meaning("The other router does not support what this one asks for.")),
    ("Required capability missing", Meaning("The other router does not support what this one asks for.")),
    ("Cease", Meaning("The other router ends the session.", "Its log says why.")),
)
"""A part of an error's text → its meaning; the first that fits."""


def meaning(state: str | None, error: str | None = None) -> Meaning:
    """What a session's state and last error mean; the error tells more, where there is one.

    >>> meaning("Idle", "BGP Error: Bad peer AS").means
    'The ends disagree on the AS of one of them.'
    >>> meaning("Passive").means
    'This end waits for the other to connect, and nobody connects.'
    """
    if state != "Established" and isinstance(error, str):
        for part, told in ERRORS:
            if part in error:
                return told
    return STATES.get(state or "", Meaning(""))


# ---- sentences


@says
def use(use: pd.DataFrame) -> str:
    """Whether BGP carries routes here, and why (``bgp.use``)."""
    row = use.iloc[0]
    ran = f" BIRD ran on {plural(len(row['ran']), 'node')}." if row["ran"] else " No node was seen to run BIRD."
    if pd.isna(row["in_use"]):
        return f"Whether BGP is in use is not known: {row['why']}."
    if not row["in_use"]:
        return f"BGP is not in use: {row['why']}.{ran} There is nothing else to see here."
    if pd.notna(row["needed"]) and bool(row["needed"]):
        return f"BGP is in use, and needed: {row['why']}.{ran}"
    return f"BGP runs although nothing needs it ({row['why']}).{ran}"


@says
def configuration(configuration: pd.DataFrame, peers: pd.DataFrame, nodes: pd.DataFrame) -> str:
    """What kind of topology is configured (``bgp.configuration``, ``bgp.peers``, ``bgp.nodes``)."""
    row = configuration.iloc[0]
    mesh = "Every node is to peer with every other (the mesh is on)" if row["mesh"] else "The mesh is off"
    reflectors = list(nodes[nodes["cluster_id"].notna()]["node"])
    own = nodes[nodes["own_as"].notna()]
    parts = [
        f"{mesh}; {plural(len(peers), 'BGPPeer adds', 'BGPPeers add')} to it.",
        f"The cluster's AS is {row['as_number']}"
        + (f"; {plural(len(own), 'node has', 'nodes have')} one of their own." if len(own) else "."),
        f"Route reflectors: {listed(reflectors)}." if reflectors else "There is no route reflector.",
    ]
    bare = list(nodes[nodes["address"].isna() & nodes["address6"].isna()]["node"])
    if bare:
        parts.append(f"Without an address for BGP, so that nobody peers with them: {listed(bare)}.")
    return " ".join(parts)


@says
def expected(expected: pd.DataFrame) -> str:
    """How many sessions the resources ask for (``bgp.expected``)."""
    if not len(expected):
        return "The resources ask for no session."
    whys = expected["why"].value_counts()
    by_why = "; ".join(f"{number(n)} by {w}" for w, n in whys.head(3).items() if n)
    outside = int((~expected["internal"].astype(bool)).sum())
    waits = int(expected["passive"].sum())
    ends = plural(len(expected), "end of a session is", "ends of sessions are")
    waiting = first_upper(plural(waits, "end waits", "ends wait"))
    return (
        f"{ends} asked for on {plural(expected['node'].nunique(), 'node')} ({by_why}); "
        f"{number(outside) if outside else 'none'} of them lead out of the cluster. {waiting} for the other to connect."
    )


@says
def compared(compared: pd.DataFrame) -> str:
    """How expected and real sessions compare (``bgp.compared``)."""
    if not len(compared):
        return "There is no session to compare."
    counts = compared["status"].astype("str").value_counts()
    total = plural(len(compared), "end", "ends")
    odd = compared[~compared["status"].isin(["up"])]
    if not len(odd):
        return f"All {total} of sessions are up, as the resources ask."
    causes = odd["cause"].dropna().astype("str").value_counts()
    why = f" Causes: {', '.join(f'{c} ({n})' for c, n in causes.items())}." if len(causes) else ""
    said = ", ".join(f"{n} {s}" for s, n in counts.items())
    return f"Of {total} of sessions: {said}.{why} Concerned: {listed(odd['node'].astype('str').unique())}."


@says
def birds(birds: pd.DataFrame) -> str:
    """On which nodes BIRD lives (``bgp.birds``)."""
    dead = birds[birds["state"] == "dead"]
    if len(dead):
        return f"BIRD is dead on {listed(dead['node'])}: {dead['why'].iloc[0]}."
    if (birds["state"] == "none").all():
        return "No node runs BIRD, and none needs it."
    unknown = birds[birds["state"] == "unknown"]
    said = f"BIRD answers on {plural(int((birds['state'] == 'answers').sum()), 'node')}."
    return said + (f" Of {listed(unknown['node'])} it is not known." if len(unknown) else "")


@says
def differences(differences: pd.DataFrame, birds: pd.DataFrame) -> str:
    """Whether bird.cfg and BIRD are what the resources ask for (``bgp.config_differences``, ``bgp.birds``)."""
    if (birds["state"] == "none").all():
        return "No node runs BIRD, so that there is no configuration of it to compare."
    if not len(differences):
        return "bird.cfg and what BIRD runs are what the resources ask for, on every node that was seen."
    nodes = differences["node"].unique()
    row = differences.iloc[0]
    line = f" (the block from line {row['line']})" if pd.notna(row["line"]) else ""
    wants, has = (row[c] if isinstance(row[c], str) else "nothing" for c in ("expected", "found"))
    return (
        f"{plural(len(differences), 'difference')} on {listed(nodes)}. The first: {row['where']}{line} says "
        f"{row['field']} {has}, the resources say {wants}."
    )


@says
def reflectors(expected: pd.DataFrame) -> str:
    """Who reflects routes to whom (``bgp.expected``)."""
    clients = expected[expected["rr_client"].astype(bool) & expected["internal"].astype(bool)]
    if not len(clients):
        return "No node reflects routes to others."
    by_node = clients.groupby("node", observed=True)["peer"].nunique()
    served = ", ".join(f"{n} serves {c}" for n, c in by_node.items())
    lone = " That is a single point of failure." if len(by_node) == 1 else ""
    return f"{plural(len(by_node), 'route reflector')}: {served}.{lone}"


@says
def log(log: pd.DataFrame) -> str:
    """What the sessions went through (``bgp.session_log``)."""
    if not len(log):
        return "BIRD's log says nothing of any session."
    drops, returns = int(log["drops"].sum()), int(log["returns"].max())
    if not drops:
        return f"None of the {plural(len(log), 'session')} in the logs went down after it had been up."
    worst = log.sort_values("drops").iloc[-1]
    return (
        f"Sessions went down {plural(drops, 'time')} after they had been up, most often {worst['protocol']} on "
        f"{worst['node']} ({worst['drops']}); none came back more than {plural(returns, 'time')}."
    )


@says
def path(steps: pd.DataFrame) -> str:
    """Where the guide's steps lead for the first pair (``bgp.steps``)."""
    if not len(steps):
        return "There is no session to walk through."
    first = steps[(steps["node"] == steps["node"].iloc[0]) & (steps["peer"] == steps["peer"].iloc[0])]
    wrong = first[first["verdict"] == "wrong"]
    pair = f"{first['node'].iloc[0]} and {first['peer'].iloc[0]}"
    pairs = steps[["node", "peer"]].drop_duplicates()
    if not len(wrong):
        return f"Between {pair} every step that could be answered is fine."
    more = f" {first_upper(plural(len(pairs) - 1, 'more pair'))} in the table." if len(pairs) > 1 else ""
    return f"Between {pair}: {first['known'].iloc[-1]}.{more}"
