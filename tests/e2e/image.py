"""What calico-node's image says where a recording was made with the programs of a host.

The image has no ss, nstat, sysctl or bridge (``calicokit/evidence/image.py``), so that a live cluster is asked for
files of the kernel instead. The stand-in refuses what the image has not; what it answers instead is the recorded facts
in the form of those files (Linux' net/ipv4/proc.c, tcp_ipv4.c, socket.c; iproute2's ip/ipneigh.c). What that form does
not tell (processes, settings beside the asked ones) is not in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address

from calicokit.evidence.catalog import CATALOG, Command
from calicokit.evidence.image import programs, runnable
from calicokit.evidence.model import Evidence

STATES = (
    *("ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"),
    *("UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING"),
)
"""From 1 on, as the kernel counts them."""


def as_in_the_image(evidence: Evidence) -> tuple[tuple[str, ...], Evidence]:
    """The argv that a live cluster is asked, and what it answers to it."""
    how = CATALOG[evidence.id].how
    assert isinstance(how, Command)
    recorded = next((a for a in how.argvs if " ".join(a) == evidence.command), None)
    if recorded is not None and recorded[0] in programs(None):
        return recorded, evidence
    argv = runnable(how.argvs, None)[0]
    told = _FORMS.get(evidence.id)
    if told is None:  # the same words, asked for by another program or in another loop
        return argv, evidence
    return argv, replace(evidence, text="".join(f"{ln}\n" for ln in told(evidence.text.decode())).encode())


def _neighbours(text: str) -> Iterator[str]:
    """``ip -f bridge neigh`` of what ``bridge fdb`` printed."""
    for mac, device, to in re.findall(r"^(\S+) dev (\S+)(?: dst (\S+))?", text, re.MULTILINE):
        yield f"{to} dev {device} lladdr {mac} PERMANENT" if to else f"dev {device} lladdr {mac} PERMANENT"


def _settings(text: str) -> Iterator[str]:
    """``grep -rs . /proc/sys/…`` of what ``sysctl`` printed; a dot in an interface's name is a slash there."""
    for key, value in re.findall(r"^(\S+) = (.*)", text, re.MULTILINE):
        if re.match(r"net\.(ipv4\.(ip_forward$|conf\.)|ipv6\.conf\.|netfilter\.)", key):
            yield f"/proc/sys/{key.translate(str.maketrans('./', '/.'))}:{value}"


def _files(text: str) -> Iterator[str]:
    """``grep -rs .`` of what ``head -v`` printed."""
    path = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"==> (\S+) <==", line):
            path = match[1]
        elif line:
            yield f"/host{path}:{line}"


def _sockstat(text: str) -> Iterator[str]:
    """``/proc/net/sockstat`` and ``sockstat6`` of what ``ss -s`` printed."""
    used = re.search(r"^Total: (\d+)", text, re.MULTILINE)
    tcp = re.search(r"^TCP: +(\d+) \(.*orphaned (\d+), timewait (\d+)", text, re.MULTILINE)
    assert used
    assert tcp
    yield f"sockets: used {used[1]}"
    counts = {name: (four, six) for name, four, six in re.findall(r"^(\w+)\s+\d+\s+(\d+)\s+(\d+)", text, re.MULTILINE)}
    alive = int(tcp[1]) - int(tcp[3])
    yield f"TCP: inuse {counts['TCP'][0]} orphan {tcp[2]} tw {tcp[3]} alloc {alive} mem 0"
    yield f"UDP: inuse {counts['UDP'][0]} mem 0"
    yield f"RAW: inuse {counts['RAW'][0]}"
    yield f"FRAG: inuse {counts['FRAG'][0]} memory 0"
    yield from (f"{name}6: inuse {counts[name][1]}" for name in ("TCP", "UDP", "RAW"))
    yield f"FRAG6: inuse {counts['FRAG'][1]} memory 0"


def _sockets(text: str) -> Iterator[str]:
    """``/proc/net/tcp`` and ``tcp6`` of what ``ss -tna`` printed."""
    rows = re.findall(r"^(\S+) +(\d+) +(\d+) +(\S+):(\S+) +(\S+):(\S+)", text, re.MULTILINE)
    for six in (False, True):
        yield "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        for number, (state, received, sent, *ends) in enumerate(r for r in rows if r[0] in STATES):
            words = [_end(*pair) for pair in (ends[:2], ends[2:])]
            if (len(words[0]) > 13) == six:
                queues = f"{int(sent):08X}:{int(received):08X}"
                yield (
                    f"{number:4d}: {words[0]} {words[1]} {STATES.index(state) + 1:02X} {queues} "
                    "00:00000000 00000000     0        0 1 1"
                )


def _end(address: str, port: str) -> str:
    """An address and port as the kernel prints them: words in the byte order of a little machine."""
    data = ip_address(address.strip("[]").partition("%")[0].replace("*", "::")).packed
    words = "".join(data[i : i + 4][::-1].hex() for i in range(0, len(data), 4)).upper()
    return f"{words}:{0 if port == '*' else int(port):04X}"


def _counters(text: str) -> Iterator[str]:
    """``/proc/net/snmp`` and ``netstat`` of what ``nstat`` printed: pairs of lines of names and values."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for group, name, value in re.findall(
        r"^(TcpExt|IpExt|MPTcpExt|Icmp(?!6)|UdpLite(?!6)|Ip(?!6|Ext)|Tcp(?!Ext)|Udp(?!6|Lite))(\w+)\s+(\d+)",
        text,
        re.MULTILINE,
    ):
        groups.setdefault(group, []).append((name, value))
    for group in sorted(groups, key=lambda g: g.endswith("Ext")):
        names, values = zip(*groups[group], strict=True)
        yield f"{group}: {' '.join(names)}"
        yield f"{group}: {' '.join(values)}"


_FORMS: dict[str, Callable[[str], Iterator[str]]] = {
    "bridge-fdb": _neighbours,
    "sysctl-net": _settings,
    "sysctl-net6": _settings,
    "cni-net.d": _files,
    "ss-summary": _sockstat,
    "ss-bgp": _sockets,
    "nstat": _counters,
}
