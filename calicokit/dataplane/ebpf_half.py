"""Parts of notebooks 05 and 06 that show only where a node runs eBPF, or should: questions, and what answers them.

A cell asks for one part, which is nothing on other clusters: neither a heading nor a table without rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from calicokit.dataplane import sentences_bpf
from calicokit.felix.state.modes import EBPF, HALF_WAY, in_mode
from calicokit.sentences import Says
from calicokit.show import Shown, show
from calicokit.tables import Tables

if TYPE_CHECKING:
    from calicokit.figures import Figure


@dataclass(frozen=True)
class Part:
    """One question: what Calico does underneath, tables with their columns, the sentence, and what to do next."""

    question: str
    underneath: str
    tables: dict[str, tuple[str, ...]]
    sentence: Callable[..., Says]
    of: tuple[str, ...]
    next: str
    only: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Table → the values of the rows that are shown."""


PARTS = {
    "modes": Part(
        "Which nodes run eBPF, and does kube-proxy stand beside it?",
        "Felix runs eBPF where bpfEnabled is true: in FelixConfiguration, which may name single nodes, or in the "
        "environment (calico-bpf.yaml). Where its kernel cannot, it goes on without, and says so in its log. Services "
        "are then the programs' work, and kube-proxy must be off where they run and on where they do not.",
        {
            "felix.modes": ("node", "mode", "origin", "asked", "why", "attach_type", "external", "connect_time", "rpf"),
            "dataplane.proxies": ("node", "pod", "rules", "samples", "with_rules"),
        },
        sentences_bpf.modes,
        ("felix.modes", "dataplane.proxies"),
        "a cluster is mixed only while it is switched over; a node that stays half-way needs "
        "another kernel, or kube-proxy.",
    ),
    "programs": Part(
        "Where do programs sit, and where should they?",
        "A program at ingress of a pod's interface sees what the pod sends, one at egress what it gets. The node's own "
        "interfaces and tunnels have theirs, and with host-networked NAT also lo and bpfout.cali, through which host "
        "processes reach services. TCX and Netkit programs are no tc filters: bpftool net shows all.",
        {
            "dataplane.attached": ("node", "interface", "hook", "what", "program", "owner"),
            "dataplane.bpf_endpoints": (),
        },
        sentences_bpf.programs,
        ("dataplane.programs", "dataplane.attached"),
        "an interface without its program meets no policy and no services: restart calico-node there, and find who "
        "detached it. Other programs at the same hook run before or after Calico's.",
        {"dataplane.attached": {"owner": "other"}},
    ),
    "services": Part(
        "Do the programs know the cluster's services, nodes and selectors?",
        "Felix writes services and their ready endpoints, routes to blocks, nodes and pods, and the members of "
        "selectors into maps, which the programs read for each packet. A frontend that counts 0 refuses; one that "
        "counts -1 drops (loadBalancerSourceRanges).",
        {
            "dataplane.bpf_services": (
                *("node", "service", "kind", "address", "port", "protocol"),
                *("count", "flags", "lacks", "extra"),
            ),
            "dataplane.bpf_routes": ("node", "cidr", "kind", "status", "owner", "next_hop", "interface", "expected"),
            "dataplane.bpf_sets": ("node", "set", "members", "selector", "policies", "lacks", "extra"),
        },
        sentences_bpf.maps,
        ("dataplane.bpf_services", "dataplane.bpf_routes", "dataplane.bpf_sets"),
        "what differs from the cluster for longer than a minute, Felix does not know, or somebody else changed.",
    ),
    "sizes": Part(
        "Is a map full?",
        "A full map of services, routes or selectors takes no new entry; that of connections (LRU since v3.31) pushes "
        "out its oldest ones, and Felix doubles it and restarts where bpfMapSizeConntrackScaling is DoubleIfFull.",
        {"dataplane.bpf_maps": ("node", "map", "entries", "limit", "share", "limit_by", "refused")},
        sentences_bpf.sizes,
        ("dataplane.bpf_maps",),
        "bpfMapSize… of FelixConfiguration set the sizes; each change restarts Felix.",
    ),
    "rules": Part(
        "Which rules do policy programs have, and how often did they match?",
        "In eBPF mode policy is in a program at each end of a pod's interface: tier by tier, policy by policy, and "
        "after the tiers the profile. What comes out of a pod meets its egress policy at the interface's ingress. "
        "Interfaces count what policy dropped, rules their hits on the whole node; Log rules and ends of tiers have "
        "none. A rule is told to have dropped packets where both counts agree, the end of a tier where no rule that "
        "denies was hit.",
        {
            "dataplane.bpf_rules": (
                *("node", "direction", "tier", "policy", "rule"),
                *("action", "match", "packets", "grown"),
            ),
        },
        sentences_bpf.rules,
        ("dataplane.bpf_rules",),
        "calico-node -bpf policy dump INTERFACE all (from v3.33 on calico component node bpf policy dump) prints one "
        "interface's programs.",
    ),
    "drops": Part(
        "What do the programs drop, and what do they track?",
        "Each program counts why it dropped a packet; policy is one reason of many. Connections stand in the programs' "
        "own map: conntrack -L shows few of them. syn-sent means that nobody has answered.",
        {
            "dataplane.bpf_drops": ("node", "interface", "workload", "direction", "reason", "packets", "grown"),
            "dataplane.bpf_connections": (
                *("node", "protocol", "client", "service", "server"),
                *("backend", "backend_port", "state", "age"),
            ),
        },
        sentences_bpf.drops,
        ("dataplane.bpf_drops", "dataplane.bpf_connections"),
        "drops by policy are 05's question; others that grow (conntrack, encapsulation, unknown route) are faults.",
    ),
}


class Half:
    """A part as it is shown; nothing at all where no node runs eBPF."""

    def __init__(self, html: str = "", text: str = "") -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def runs(cluster: Tables) -> bool:
    """Whether any node runs eBPF, or is configured for it."""
    modes = cluster.given("felix.modes")
    return bool(in_mode(modes, EBPF, HALF_WAY))


def half(cluster: Tables, name: str) -> Half | None:
    """One of the :data:`PARTS`, or None where no node runs eBPF."""
    if not runs(cluster):
        return None
    part = PARTS[name]
    shown: list[Shown | Says] = [
        show(cluster.table(t), *columns, **part.only.get(t, {})) for t, columns in part.tables.items()
    ]
    shown.append(part.sentence(*(cluster.table(t) for t in part.of)))
    words: list[Any] = [f"<h3>{escape(part.question)}</h3><p>{escape(part.underneath)}</p>"]
    words += [s._repr_html_() for s in shown]
    words.append(f"<p><b>Next:</b> {escape(part.next)}</p>")
    return Half("\n".join(words), "\n\n".join([part.question, *map(repr, shown)]))


def picture(cluster: Tables) -> Figure | None:
    """Where programs sit, or None where no node runs eBPF."""
    from calicokit.dataplane.figures import programs_at_hooks  # plotly is slow to import

    return programs_at_hooks(cluster.table("dataplane.programs")) if runs(cluster) else None
