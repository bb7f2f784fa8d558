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

    ``parser`` is a kind of text, or ``KIND:TABLE`` where not its main table is meant. ``scope`` is "cluster" or
    "node"; ``file`` the name in a recording's ``cluster/`` or ``nodes/<node>/`` folder (API lists know theirs);
    ``heavy`` marks what costs on a big node; ``secret`` says what in it must never leave.
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

    @property
    def argv(self) -> str:
        """The command in words, empty for an API list."""
        return "" if isinstance(self.how, Api) else " ".join(self.how.argvs[0])

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


_HEALTH = "calico-health-check/initial-investigation"
_READY = "calico-health-check/calico-node-status"
_ALLOCATION = "node-connectivity-issues/pod-ip-allocation"
_POOLS = "ipam-and-ip-pool-management/ip-pool-configuration"
_ASSIGN = "ipam-and-ip-pool-management/ip-address-assignment"
_ISSUES = "ipam-and-ip-pool-management/ipam-issues"
_PEERS = "bgp-configuration/bgp-configuration"
_LOGS = "calico-health-check/calico-logs"
_ROUTES = "node-connectivity-issues/route-programming"
_LINKS = "node-connectivity-issues/interface-status"
_ENDPOINTS = "node-connectivity-issues/workload-endpoints"
_BGP = "bgp-configuration/bgp-status"
_BGP_DOWN = "bgp-configuration/bgp-peering-issues"
_POLICY = "network-policy-debugging/policy-investigation"
_FELIX = "felix-and-dataplane/felix-configuration"
_RULES = "felix-and-dataplane/iptables-rules"
_DROPS = "felix-and-dataplane/dataplane-issues"
_METRICS = "performance-and-scaling/performance-metrics"
_TYPHA = "performance-and-scaling/typha-for-large-clusters"


def _core(plural: str, title: str, group: str = "v1", guide: str = "", secret: str = "") -> Item:
    return Item(plural, title, Api((group,), (plural,)), guide=guide, secret=secret)


def _calico(plural: str, title: str, *also: str, guide: str = "", secret: str = "") -> Item:
    return Item(plural, title, Api(CALICO, (plural, *also)), guide=guide, secret=secret)


def _admin(id: str, title: str, words: str, parser: str, guide: str, file: str = "", secret: str = "") -> Item:  # noqa: A002
    """A command of the cluster's administrator (kubectl, calicoctl)."""
    how = Command((tuple(words.split()),), container="")
    return Item(id, title, how, file=file or f"{id}.txt", parser=parser, guide=guide, secret=secret)


def _node(
    id: str,  # noqa: A002
    title: str,
    *argvs: str,
    file: str = "",
    parser: str = "",
    guide: str = "",
    heavy: bool = False,
    secret: str = "",
) -> Item:
    how = Command(tuple(tuple(a.split()) for a in argvs))
    return Item(id, title, how, "node", file or f"{id}.txt", parser or id, heavy, secret, guide)


def _log(id: str, title: str, path: str, file: str, guide: str = _LOGS) -> Item:  # noqa: A002
    return _node(id, title, f"tail -c 150000 {path}", file=file, parser=id, guide=guide)


def _birdcl(words: str, parser: str, guide: str, heavy: bool = False) -> Item:
    """birdcl knows its socket in images since v3.16; before, it has to be told."""
    argvs = (f"birdcl show {words}", f"birdcl -s /var/run/calico/bird.ctl show {words}")
    return _node(f"birdcl-{words.replace(' ', '-')}", f"BIRD: {words}", *argvs, parser=parser, guide=guide, heavy=heavy)


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
    _admin("calicoctl-ipam-show", "Use of pools", "calicoctl ipam show", "calicoctl-ipam-show", _ASSIGN),
    *(
        _admin(
            f"calicoctl-ipam-show-{what}", title, f"calicoctl ipam show --show-{what}", "calicoctl-ipam-show", _ASSIGN
        )
        for what, title in (
            ("blocks", "Use of blocks"),
            ("borrowed", "Borrowed addresses"),
            ("configuration", "IPAM configuration as calicoctl prints it"),
        )
    ),
    _admin("calicoctl-ipam-check", "IPAM's consistency", "calicoctl ipam check", "calicoctl-ipam-check", _ISSUES),
    _admin(
        "calicoctl-ipam-check-all",
        "IPAM's consistency, every address",
        "calicoctl ipam check --show-all-ips --show-problem-ips",
        "calicoctl-ipam-check",
        _ISSUES,
    ),
    *(
        _admin(f"calicoctl-get-{id_}", f"calicoctl's list of {words}", f"calicoctl get {words}", "calicoctl-get", guide)
        for id_, words, guide in (
            ("nodes-wide", "nodes -o wide", _BGP),
            ("nodes-yaml", "nodes -o yaml", _BGP),
            ("workloadendpoints-wide", "workloadendpoints -A -o wide", _ENDPOINTS),
            ("workloadendpoints-yaml", "workloadendpoints -A -o yaml", _ENDPOINTS),
            ("ippools-wide", "ippools -o wide", _POOLS),
            ("bgppeers-wide", "bgppeers -o wide", _PEERS),
            ("bgpconfig-yaml", "bgpconfigurations -o yaml", _PEERS),
            ("gnp-wide", "globalnetworkpolicies -o wide", _POLICY),
            ("np-wide", "networkpolicies -A -o wide", _POLICY),
            ("profiles-yaml", "profiles -o yaml", _POLICY),
            ("felixconfig-yaml", "felixconfigurations -o yaml", _FELIX),
        )
    ),
    _admin("calicoctl-version", "Versions", "calicoctl version", "calicoctl-version", _HEALTH),
    _admin("kubectl-get-pods-wide", "Pods", "kubectl get pods -A -o wide", "kubectl-get", _HEALTH),
    _admin("kubectl-get-nodes-wide", "Nodes", "kubectl get nodes -o wide", "kubectl-get", _HEALTH),
    _admin("kubectl-get-events", "Events", "kubectl get events -A", "kubectl-events", _ISSUES),
    _admin("kubectl-describe-nodes", "Nodes in words", "kubectl describe nodes", "kubectl-describe", _HEALTH),
    _admin(
        "kubectl-describe-pods",
        "Calico's pods in words",
        "kubectl describe pods -n kube-system",
        "kubectl-describe",
        _HEALTH,
        secret="environment values",
    ),
    _admin("kernel-log", "The kernel's log", "dmesg", "dmesg", _DROPS),
    _admin("typha-log", "Typha's log", "kubectl logs -l k8s-app=calico-typha", "typha-log", _TYPHA, "typha.log"),
    _admin(
        "kube-controllers-log",
        "kube-controllers' log",
        "kubectl logs -l k8s-app=calico-kube-controllers",
        "kube-controllers-log",
        _LOGS,
        "kube-controllers.log",
    ),
    _admin("typha-metrics", "Typha's metrics", "port 9093 /metrics", "prometheus", _TYPHA, "typha-metrics.prom"),
    _admin(
        "kube-controllers-metrics",
        "kube-controllers' metrics",
        "port 9094 /metrics",
        "prometheus",
        _METRICS,
        "kube-controllers-metrics.prom",
    ),
    *(
        _node(
            f"{component}-ready",
            f"Whether {component.capitalize()} says that it is ready",
            f"calico-node -{component}-ready",
            f"calico component node health --{component}-ready",
            parser="health-ready",
            guide=_READY,
        )
        for component in ("felix", "bird")
    ),
    _node("nodename", "What Calico on the node calls itself", "cat /var/lib/calico/nodename", guide=_READY),
    _node("calicoctl-node-status", "BGP sessions as calicoctl shows them", "calicoctl node status", guide=_BGP),
    _birdcl("status", "bird-status", _BGP),
    _birdcl("protocols", "bird-protocols", _BGP),
    _birdcl("protocols all", "bird-protocols", _BGP),
    _birdcl("route", "bird-routes", _BGP),
    _birdcl("route all", "bird-routes", _BGP, heavy=True),
    _birdcl("route count", "bird-routes:bird_route_count", _BGP),
    _birdcl("interfaces", "bird-interfaces", _BGP),
    *(
        _node(
            name,
            f"BIRD's configuration: {name}",
            f"cat /etc/calico/confd/config/{name}",
            file=name,
            parser="bird-config",
            guide=_PEERS,
            secret="BGP passwords",
        )
        for name in ("bird.cfg", "bird_ipam.cfg", "bird_aggr.cfg")
    ),
    _node("ip-addr", "Interfaces and addresses", "ip -d addr", guide=_LINKS),
    _node(
        "ip-addr-json",
        "Interfaces and addresses",
        "ip -j -d addr",
        file="ip-addr-json.json",
        parser="ip-addr",
        guide=_LINKS,
    ),
    _node("ip-link-stats", "Counters of interfaces", "ip -s -s link", parser="ip-link", guide=_LINKS),
    _node(
        "ip-link-stats-json",
        "Counters of interfaces",
        "ip -j -s -s link",
        file="ip-link-stats-json.json",
        parser="ip-link",
        guide=_LINKS,
    ),
    _node("ip-route", "Routes of the main table", "ip route", guide=_ROUTES),
    _node("ip-route-all", "Routes of all tables", "ip route show table all", parser="ip-route", guide=_ROUTES),
    _node(
        "ip-route-json",
        "Routes of all tables",
        "ip -j route show table all",
        file="ip-route-json.json",
        parser="ip-route",
        guide=_ROUTES,
    ),
    _node("ip-rule", "Routing rules", "ip rule", guide=_ROUTES),
    _node("ip-neigh", "Neighbours", "ip neigh", guide=_ROUTES),
    _node("bridge-fdb", "Forwarding entries, of VXLAN among others", "bridge fdb show", guide=_ROUTES),
    _node("iptables-save", "iptables rules with counters", "iptables-save -c", guide=_RULES, heavy=True),
    *(
        _node(f"{tool}-save", f"Rules of {tool}", f"{tool}-save -c", parser="iptables-save", guide=_RULES, heavy=True)
        for tool in ("iptables-nft", "iptables-legacy", "ip6tables")
    ),
    *(
        _node(id_, "iptables rules as listed", words, parser="iptables-list", guide=_RULES, heavy=True)
        for id_, words in (
            ("iptables-filter-L", "iptables -t filter -L -n -v -x"),
            ("iptables-filter-L-human", "iptables -L -n -v --line-numbers"),
            ("iptables-nat-L", "iptables -t nat -L -n -v"),
        )
    ),
    _node("ipset-list", "IP sets with their members", "ipset list", guide=_RULES, heavy=True),
    _node("ipset-save", "IP sets as they are restored", "ipset save", guide=_RULES, heavy=True),
    _node("nft-ruleset", "nftables rules", "nft list ruleset", guide=_RULES, heavy=True),
    _node(
        "nft-ruleset-json",
        "nftables rules",
        "nft -j list ruleset",
        file="nft-ruleset-json.json",
        parser="nft-ruleset",
        guide=_RULES,
        heavy=True,
    ),
    _node(
        "conntrack-stats",
        "Counters of connection tracking",
        "conntrack -S",
        parser="conntrack:conntrack_stats",
        guide=_DROPS,
    ),
    _node("conntrack", "Tracked connections", "conntrack -L", guide=_DROPS, heavy=True),
    _node("sysctl-net", "Network settings of the kernel", "sysctl -a", parser="sysctl", guide=_DROPS),
    _node("ss-summary", "Sockets in use", "ss -s", parser="ss:ss_summary", guide=_DROPS),
    _node("ss-bgp", "TCP connections of BGP", "ss -tnap", parser="ss", guide=_BGP_DOWN),
    _node("tc-qdisc", "Queues and their drops", "tc -s qdisc", guide=_LINKS),
    _node("proc-net-dev", "Counters of interfaces", "cat /proc/net/dev", guide=_LINKS),
    _node("nstat", "Counters of the network stack", "nstat -az", guide=_DROPS),
    _node(
        "cni-net.d",
        "CNI configuration",
        "head -v -n 100 /etc/cni/net.d",
        parser="cni-conflist",
        guide=_ISSUES,
        secret="tokens",
    ),
    _node(
        "felix-metrics",
        "Felix's metrics",
        "port 9091 /metrics",
        file="felix-metrics.prom",
        parser="prometheus",
        guide=_METRICS,
    ),
    _log("felix-log", "Felix's log", "/var/log/calico/felix/current", "felix.log"),
    _log("bird-log", "BIRD's log", "/var/log/calico/bird/current", "bird.log", _BGP_DOWN),
    _log("confd-log", "confd's log", "/var/log/calico/confd/current", "confd.log"),
    _log("startup-log", "calico-node's start", "/var/log/calico/startup/current", "startup.log"),
    _log("cni-log", "The CNI plugin's log", CNI_LOG, "cni.log"),
)

CATALOG: dict[str, Item] = {item.id: item for item in ITEMS}
