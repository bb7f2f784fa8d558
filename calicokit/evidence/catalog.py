"""The catalog: every piece of evidence the kit knows, one row each.

A row says what the evidence is, how a live cluster gives it, where it stands in a recording, what it costs and what in
it is secret, and which step of the guide asks for it. Adding a command to the kit is one row here and one parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CALICO = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
"""The two API groups that may hold Calico's objects; which one does is discovered, never assumed."""

CNI_LOG = "/var/log/calico/cni/cni.log"


@dataclass(frozen=True)
class Api:
    """An API list: the groups that may serve it, in the order in which they are tried, and its plurals by version."""

    groups: tuple[str, ...]
    plurals: tuple[str, ...]

    def files(self) -> Iterator[str]:
        """Where a recording may hold it."""
        for group in self.groups:
            for plural in self.plurals:
                yield f"api/{group.replace('/', '_')}_{plural}.json"


@dataclass(frozen=True)
class Command:
    """A command's argv, with alternatives in the order in which they are tried, run in calico-node on a node.

    ``container`` is empty for a command of the cluster's administrator, which only a recording holds.
    """

    argvs: tuple[tuple[str, ...], ...]
    container: str = "calico-node"


@dataclass(frozen=True)
class Item:
    """One row of the catalog.

    ``scope`` is "cluster" or "node"; ``file`` the name in a recording's ``cluster/`` or ``nodes/<node>/`` folder (API
    lists know theirs); ``heavy`` marks what costs on a big node; ``secret`` says what in it must never leave.
    """

    id: str
    title: str
    how: Api | Command
    scope: str = "cluster"
    file: str = ""
    parser: str = ""
    heavy: bool = False
    secret: str = ""
    guide: str = ""

    def files(self, node: str | None = None) -> Iterator[str]:
        """The paths in a recording at which this may stand, the first that exists counts."""
        if isinstance(self.how, Api):
            yield from self.how.files()
        else:
            yield f"nodes/{node}/{self.file}" if node else f"cluster/{self.file}"

    def matches(self, file: str) -> bool:
        """Whether a file of this name in a series folder is a sample of this."""
        if isinstance(self.how, Api):
            return f"api/{file}" in set(self.how.files())
        return file == self.file


def _core(plural: str, title: str, group: str = "v1", guide: str = "", secret: str = "") -> Item:
    return Item(plural, title, Api((group,), (plural,)), guide=guide, secret=secret)


def _calico(plural: str, title: str, *also: str, guide: str = "", secret: str = "") -> Item:
    return Item(plural, title, Api(CALICO, (plural, *also)), guide=guide, secret=secret)


def _calicoctl(id: str, title: str, words: str, parser: str, guide: str) -> Item:  # noqa: A002
    argv = tuple(words.split())
    return Item(id, title, Command((argv,), container=""), file=f"{id}.txt", parser=parser, guide=guide)


def _node(id: str, title: str, *argvs: str, file: str = "", parser: str = "", guide: str = "") -> Item:  # noqa: A002
    how = Command(tuple(tuple(a.split()) for a in argvs))
    return Item(id, title, how, scope="node", file=file or f"{id}.txt", parser=parser, guide=guide)


_HEALTH = "calico-health-check/initial-investigation"
_READY = "calico-health-check/calico-node-status"
_ALLOCATION = "node-connectivity-issues/pod-ip-allocation"
_POOLS = "ipam-and-ip-pool-management/ip-pool-configuration"
_ASSIGN = "ipam-and-ip-pool-management/ip-address-assignment"
_ISSUES = "ipam-and-ip-pool-management/ipam-issues"
_PEERS = "bgp-configuration/bgp-configuration"

ITEMS = (
    _core("nodes", "Nodes", guide=_HEALTH, secret="annotations that hold applied configuration"),
    _core("pods", "Pods", guide=_HEALTH, secret="environment values; annotations that hold applied configuration"),
    _core("namespaces", "Namespaces", guide=_ALLOCATION),
    _core("services", "Services", guide=_ALLOCATION),
    _core("events", "Events, as long as the API server keeps them", guide=_ISSUES),
    _core("daemonsets", "DaemonSets", "apps/v1", guide=_HEALTH, secret="environment values"),
    _core("deployments", "Deployments", "apps/v1", guide=_HEALTH, secret="environment values"),
    _calico("clusterinformations", "Calico's cluster information: version, datastore readiness", guide=_HEALTH),
    _calico("kubecontrollersconfigurations", "Configuration of kube-controllers: leak grace period", guide=_ISSUES),
    _calico("ippools", "IP pools", guide=_POOLS),
    _calico("ipamblocks", "IPAM blocks: who has which address", guide=_ASSIGN),
    _calico("blockaffinities", "Block affinities: which node owns which block", guide=_ASSIGN),
    _calico("ipamhandles", "IPAM handles: the owners of addresses", guide=_ISSUES),
    _calico("ipamconfigs", "IPAM configuration", "ipamconfigurations", guide=_ASSIGN),
    _calico("ipreservations", "IP reservations", guide=_POOLS),
    _calico("bgpconfigurations", "BGP configuration", guide=_PEERS),
    _calico("bgppeers", "BGP peers", guide=_PEERS, secret="passwords are references to Secrets, which are not read"),
    _calicoctl("calicoctl-ipam-show", "Use of pools", "calicoctl ipam show", "calicoctl-ipam-show", _ASSIGN),
    _calicoctl(
        "calicoctl-ipam-show-blocks",
        "Use of blocks",
        "calicoctl ipam show --show-blocks",
        "calicoctl-ipam-show",
        _ASSIGN,
    ),
    _calicoctl(
        "calicoctl-ipam-show-borrowed",
        "Borrowed addresses",
        "calicoctl ipam show --show-borrowed",
        "calicoctl-ipam-show",
        _ASSIGN,
    ),
    _calicoctl(
        "calicoctl-ipam-show-configuration",
        "IPAM configuration as calicoctl prints it",
        "calicoctl ipam show --show-configuration",
        "calicoctl-ipam-show",
        _ASSIGN,
    ),
    _calicoctl("calicoctl-ipam-check", "IPAM's consistency", "calicoctl ipam check", "calicoctl-ipam-check", _ISSUES),
    _calicoctl(
        "calicoctl-ipam-check-all",
        "IPAM's consistency, every address",
        "calicoctl ipam check --show-all-ips --show-problem-ips",
        "calicoctl-ipam-check",
        _ISSUES,
    ),
    _node(
        "felix-ready",
        "Whether Felix says that it is ready",
        "calico-node -felix-ready",
        "calico component node health --felix-ready",
        guide=_READY,
    ),
    _node(
        "nodename",
        "What Calico on the node calls itself",
        "cat /var/lib/calico/nodename",
        parser="nodename",
        guide=_READY,
    ),
    _node(
        "cni-log",
        "The CNI plugin's log",
        f"tail -c 150000 {CNI_LOG}",
        file="cni.log",
        parser="cni-log",
        guide="calico-health-check/calico-logs",
    ),
)

CATALOG: dict[str, Item] = {item.id: item for item in ITEMS}
