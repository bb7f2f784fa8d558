"""What BIRD's words mean, and what BGP's tables mean in sentences.

Sources of the meanings: BIRD's proto/bgp/bgp.c and packets.c (states, classes of errors, texts of NOTIFICATIONs);
reference/bgp.md, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Meaning:
    """What a state or error means for a session of Calico's, and what to try next."""

    means: str
    next: str = ""


STATES = {
    "Established": Meaning("The session is up."),
    "Passive": Meaning(
        "This end waits for the other to connect, and nobody connects.",
        "Look at the other end: does its BIRD run, does it have a session to this address, is TCP 179 open towards here?",
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
