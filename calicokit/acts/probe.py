"""Try a TCP connection from a pod, with what its image has."""

from __future__ import annotations

import ipaddress
import re
from threading import Event

from calicokit.acts.model import ActError, Execute, Plan, Ran, Step

CONNECTED, REFUSED, TIMED_OUT, UNREACHABLE, UNKNOWN = "connected", "refused", "timed out", "unreachable", "unknown"
TOOLS = ("nc", "curl", "wget")
MOST_SECONDS = 30


def plan(pod: tuple[str, str], container: str, address: str, port: int, seconds: int, tool: str) -> Plan:
    """The plan for a connection from a pod's container with one of :data:`TOOLS`."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError as error:
        raise ActError(f"{error}.") from error
    if not 0 < port < 65536 or not 0 < seconds <= MOST_SECONDS:
        raise ActError(f"Give a port from 1 to 65535 and between 1 and {MOST_SECONDS} seconds.")
    return Plan(
        title=f"Connect from {'/'.join(pod)} to {address} port {port} (tcp)",
        pod=pod,
        container=container,
        changes="nothing; one connection is tried, which the application there may log",
        restarts="nothing",
        undone="there is nothing to undo",
        expires=f"the command ends by itself after {seconds} s",
        seconds=0,
        steps=(Step(argv(tool, ip, port, seconds), f"try it with {tool}", limit=seconds + 5.0),),
        notes=(
            "where an image has none of nc, curl and wget, only an ephemeral container could try (kubectl debug), "
            "and that cannot be removed from the pod again; the kit does not add one",
        ),
    )


def argv(tool: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, seconds: int) -> tuple[str, ...]:
    """The command; each ends after so many seconds by itself."""
    host = f"[{ip}]" if ip.version == 6 else str(ip)
    if tool == "nc":
        return ("nc", "-z", "-v", "-w", str(seconds), str(ip), str(port))
    if tool == "curl":
        return ("curl", "-sS", "-g", "-o", "/dev/null", "--max-time", str(seconds), f"http://{host}:{port}/")
    return ("wget", "-q", "-T", str(seconds), "-O", "/dev/null", f"http://{host}:{port}/")


def tool_of(execute: Execute) -> str:
    """The first of :data:`TOOLS` that the container has. Raises :class:`ActError` if it has none."""
    for tool in TOOLS:
        ran = execute((tool, "--help"), 10.0, Event())
        if ran.exit is not None and ran.exit not in (126, 127):
            return tool
    raise ActError(
        f"The container has none of {', '.join(TOOLS)}, so nothing in it can try a connection; an ephemeral container "
        "(kubectl debug) could, and stays in the pod until that is deleted."
    )


_REFUSED = re.compile(r"refused|reset by peer", re.IGNORECASE)
_LATE = re.compile(r"timed? ?out|timeout|in progress", re.IGNORECASE)
_NO_WAY = re.compile(r"no route to host|unreachable|not permitted", re.IGNORECASE)
_ANSWERED = re.compile(
    r"server returned error|HTTP/\d|empty reply|bad header|recv failure|error getting response|open\b", re.I
)
_CURL = {0: CONNECTED, 1: CONNECTED, 8: CONNECTED, 28: TIMED_OUT, 52: CONNECTED, 56: CONNECTED}


def verdict(tool: str, ran: Ran) -> str:
    """What became of the connection. Whatever is said in an answer, an answer means that it was made."""
    said = bytes(ran.stderr + ran.stdout).decode("utf-8", "replace")
    if ran.exit == 0:
        return CONNECTED
    if tool == "curl" and ran.exit in _CURL:
        # Status 28 also stands for a server that took the connection and stayed silent.
        return UNKNOWN if ran.exit == 28 and "after" in said and "received" in said else _CURL[ran.exit]
    for mark, meaning in ((_REFUSED, REFUSED), (_LATE, TIMED_OUT), (_NO_WAY, UNREACHABLE), (_ANSWERED, CONNECTED)):
        if mark.search(said):
            return meaning
    return TIMED_OUT if tool == "nc" and ran.exit == 1 and not said.strip() else UNKNOWN
