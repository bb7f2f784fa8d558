"""What policy is made of, in Calico's own terms: what Felix has after it has converted every object.

Selectors stand as Felix combines them (libcalico-go/lib/backend/syncersv1/updateprocessors), Kubernetes' policies as
Calico's (libcalico-go/lib/backend/k8s/conversion). Nothing here reads an object or decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from calicokit.net import Prefix
from calicokit.registry import UnseenError

Direction = Literal["ingress", "egress"]
INGRESS: Direction = "ingress"
EGRESS: Direction = "egress"
DIRECTIONS: tuple[Direction, Direction] = (EGRESS, INGRESS)

DEFAULT_TIER = "default"
NAMESPACE, ORCHESTRATOR, SERVICE_ACCOUNT = (
    f"projectcalico.org/{k}" for k in ("namespace", "orchestrator", "serviceaccount")
)
NAMESPACE_PREFIX, ACCOUNT_PREFIX = "pcns.", "pcsa."
NAMESPACE_PROFILE, ACCOUNT_PROFILE = "kns.", "ksa."
DEFAULT_ALLOW = "projectcalico-default-allow"
EVERY_INTERFACE = "*"


class Ports(NamedTuple):
    """Ports from ``first`` to ``last``."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Side:
    """What a rule asks of one end of a flow. An empty field asks nothing; all that are set must hold.

    ``service`` is NS/NAME: its endpoints with their ports (destination) or their addresses (source).
    """

    selector: str = ""
    not_selector: str = ""
    nets: tuple[Prefix, ...] = ()
    not_nets: tuple[Prefix, ...] = ()
    ports: tuple[Ports | str, ...] = ()
    not_ports: tuple[Ports | str, ...] = ()
    service: str = ""

    @property
    def positive(self) -> str:
        """The selector with the negative one inside it, as Felix joins them (``combineMatchesIfPossible``)."""
        if self.selector and self.not_selector:
            return f"({self.selector}) && (!({self.not_selector}))"
        return self.selector

    @property
    def anything(self) -> bool:
        return self == _ANYTHING


_ANYTHING = Side()


@dataclass(frozen=True, slots=True)
class Icmp:
    """An ICMP type, and a code where one is asked for."""

    type: int
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``action`` is allow, deny, pass or log; protocols are lower-case names, or numbers without a name.

    ``index`` is its place among the converted rules of its policy and direction; ``origin`` its place in the object,
    where one rule of a Kubernetes policy becomes several.
    """

    index: int
    action: str
    source: Side = _ANYTHING
    destination: Side = _ANYTHING
    protocol: str = ""
    not_protocol: str = ""
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    version: int | None = None
    origin: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. ``selector`` chooses the endpoints it applies to; ``order`` is infinite where the object has none.

    ``problem`` says why it cannot be read; then it may or may not decide wherever it could apply. ``stored`` is the
    name under which Calico up to v3.31 sorts it.
    """

    kind: str
    name: str
    namespace: str
    tier: str
    order: float
    selector: str
    types: frozenset[Direction]
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    staged: bool = False
    staged_action: str = ""
    apply_on_forward: bool = False
    pre_dnat: bool = False
    do_not_track: bool = False
    stored: str = ""
    problem: str = ""
    evidence: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    @property
    def ref(self) -> str:
        """NS/NAME or NAME, as findings name policies."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def rules(self, direction: Direction) -> tuple[Rule, ...]:
        return self.ingress if direction == INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier. ``exists`` is false for one that only policies name: Felix sorts it after all others, and denies."""

    name: str
    order: float
    denies: bool
    exists: bool = True


class NamedPort(NamedTuple):
    name: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod with a network of its own, or a host endpoint (``host``); its labels with those it inherits."""

    name: str
    namespace: str
    node: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    profiles: tuple[str, ...]
    ports: tuple[NamedPort, ...] = ()
    host: bool = False
    interface: str = ""
    workload: str = ""
    cluster_dns: bool = False

    @property
    def ref(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Idle:
    """A pod that is no endpoint now (ended, without an address, not scheduled): what it would be, and why."""

    endpoint: Endpoint
    why: str


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """A network set of a namespace, or a global one; its labels with those it inherits."""

    name: str
    namespace: str
    nets: tuple[Prefix, ...]
    labels: Mapping[str, str]


class Backend(NamedTuple):
    """One endpoint of a service at one port, as an EndpointSlice has it; ``state`` is ready, draining or idle."""

    address: str
    protocol: str
    port: int
    port_name: str
    node: str
    state: str


class ServicePort(NamedTuple):
    name: str
    protocol: str
    port: int
    node_port: int


@dataclass(frozen=True, slots=True)
class Service:
    """A service. ``addresses`` are its cluster addresses, ``outside`` its external and load balancer addresses."""

    name: str
    namespace: str
    type: str
    addresses: tuple[str, ...]
    outside: tuple[str, ...]
    ports: tuple[ServicePort, ...]
    local_inside: bool = False
    local_outside: bool = False

    @property
    def ref(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its own addresses, Calico's address with its subnet, and its tunnels' by kind."""

    name: str
    addresses: tuple[str, ...]
    subnets: tuple[Prefix, ...]
    tunnels: Mapping[str, str]
    interfaces: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    name: str
    net: Prefix
    nat_outgoing: bool
    ipip: str
    vxlan: str


class Failsafe(NamedTuple):
    """A port that host endpoints never close; ``net`` limits it to a network."""

    protocol: str
    port: int
    net: Prefix | None = None


@dataclass(frozen=True, slots=True)
class HostRules:
    """What Felix's configuration says of hosts on one node. An ``endpoint_to_host`` of None is not known."""

    failsafe_in: tuple[Failsafe, ...]
    failsafe_out: tuple[Failsafe, ...]
    endpoint_to_host: str | None
    vxlan_from_pods: bool = False
    vxlan_port: int = 4789


@dataclass(frozen=True)
class Parts:
    """All that policy rests on. ``missing`` names the kinds that are not known (not listed, or refused)."""

    tiers: tuple[Tier, ...] = ()
    policies: tuple[Policy, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    sets: tuple[NetworkSet, ...] = ()
    services: tuple[Service, ...] = ()
    backends: Mapping[str, tuple[Backend, ...]] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    pools: tuple[Pool, ...] = ()
    hosts: Mapping[str, HostRules] = field(default_factory=dict)
    host_pods: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Pods of the host's network, NS/POD: their node and its addresses."""
    idle: Mapping[str, Idle] = field(default_factory=dict)
    """Pods that are no endpoint now, by NS/POD."""
    old_names: bool | None = None
    """Whether policies of one order are sorted by the stored names of Calico up to v3.31; None where unknown."""
    missing: frozenset[str] = frozenset()
    exclude_hosts: bool = False
    """natOutgoing spares traffic to hosts too (natOutgoingExclusions)."""
    bpf: frozenset[str] = frozenset()
    """The nodes whose Felix runs the eBPF dataplane."""

    def need(self, *lists: str) -> None:
        """Raise ``UnseenError`` where one of these lists is not known and may matter."""
        if lost := [i for i in lists if i in self.missing]:
            raise UnseenError(f"{', '.join(lost)} were not seen", lost)

    def enforced(self) -> Iterator[Policy]:
        """The policies that are not staged."""
        return (p for p in self.policies if not p.staged)
