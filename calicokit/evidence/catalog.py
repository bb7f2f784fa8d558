"""The catalog: every piece of evidence the kit knows, one row each.

A row says what the evidence is, how a live cluster gives it, where it stands in a recording, what it costs and what in
it is secret, and which step of the guide asks for it. Adding a command to the kit is one row here and one parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

CALICO = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
"""The two API groups that may hold Calico's objects; which one does is discovered, never assumed."""

CNI_LOG = "/var/log/calico/cni/cni.log"

WATCHED = frozenset(
    (
        *("ipamblocks", "felix-metrics", "typha-metrics", "kube-controllers-metrics"),
        *("iptables-save", "nft-ruleset-json", "conntrack", "conntrack-stats"),
        *("ip-link-stats", "tc-qdisc", "nstat", "proc-net-dev"),
        *("bpf-counters", "bpf-policy", "bpf-conntrack"),
    )
)

MAY_PRINT_NOTHING = frozenset(
    (
        *("felix-ready", "bird-ready", "bird6-ready"),  # their status tells
        *("ipset-list", "ipset-save", "ip-neigh", "ip-neigh6", "conntrack", "cni-log"),
        *("ip6tables-save", "ip6tables-nft-save", "ip6tables-legacy-save"),
        *("bpf-routes", "bpf-nat", "bpf-nat-aff", "bpf-nat-maglev", "bpf-conntrack", "bpf-arp", "bpf-policy"),
        *("bpftool-prog", "bpftool-map", "bpftool-link"),
    )
)
"""What a command of a node prints nothing of where there is nothing; all others have a header, or never nothing."""

OTHER_BACKENDS = {
    "iptables-nft-save": ("iptables-legacy-save",),
    "iptables-legacy-save": ("iptables-nft-save", "nft-ruleset", "nft-ruleset-json"),
    "nft-ruleset": ("iptables-legacy-save",),
    "nft-ruleset-json": ("iptables-legacy-save",),
}
"""Rules that may be none at all, where Calico's and those of services are in one of these."""

OF_CALICO = (b"cali-OUTPUT", b"table ip calico {")
"""What one of them has where Felix programs it."""

OF_SERVICES = (b"KUBE-SVC-", b"table ip kube-proxy", b"BPF programs")
"""What one of them has where services are programmed: by kube-proxy, or by Felix's eBPF programs."""

UNENDED = frozenset(("nodename", "cni-net.d"))
"""Files whose last line nothing ends; all else that a command prints ends with the end of a line."""

LOG_BYTES = 150_000
"""How much of a log's end is read."""


@dataclass(frozen=True)
class Api:
    """An API list: the groups that may serve it, in the order in which they are tried, and its plurals by version.

    ``fields`` selects objects by a field selector. A group that is ``optional`` and not served has no objects, where
    the absence of any other says nothing about the cluster. A kind that is ``newer`` is not in every version of its
    group: where the group is served without it, there are no objects of it.
    """

    groups: tuple[str, ...]
    plurals: tuple[str, ...]
    fields: str = ""
    optional: bool = False
    newer: bool = False

    @property
    def words(self) -> str:
        return f"API: {', '.join(self.plurals)}"

    def files(self) -> Iterator[str]:
        """Where a recording may hold it."""
        for group in self.groups:
            for plural in self.plurals:
                yield f"api/{group.replace('/', '_')}_{plural}.json"


@dataclass(frozen=True)
class Command:
    """A command's argv, with alternatives in the order in which they are tried, run in calico-node on a node.

    ``said`` is how a person would write what is a loop in argv.
    """

    argvs: tuple[tuple[str, ...], ...]
    said: str = ""

    @property
    def words(self) -> str:
        return f"`{self.said or ' '.join(self.argvs[0])}`"


@dataclass(frozen=True)
class Admin:
    """What the cluster's administrator ran or downloaded: only a recording or a bundle holds it."""

    command: str

    @property
    def words(self) -> str:
        return f"`{self.command}`"


@dataclass(frozen=True)
class Log:
    """A log of the pods with a ``k8s-app`` label; of calico-node, whose log mixes several, the lines of one service.

    ``path`` is its file on the node, where it has one; with no app it is the only way. ``previous`` is the log of the
    container's run before this one, ``init`` that of the init container that fails; most pods have neither.
    """

    app: str
    path: str = ""
    previous: bool = False
    init: bool = False

    @property
    def words(self) -> str:
        if self.previous:
            return f"`kubectl logs --previous` of {self.app}"
        if self.init:
            return f"`kubectl logs -c install-cni` of {self.app}, or of the init container that fails"
        return f"log of {self.app}" if self.app and not self.path else f"`{' '.join(self.argv)}`"

    @property
    def argv(self) -> tuple[str, ...]:
        return ("tail", "-c", str(LOG_BYTES), self.path)


@dataclass(frozen=True)
class Metrics:
    """A scrape of the pods with a ``k8s-app`` label: the default port, and how metrics are switched on.

    ``env`` names the variable, and ``field`` the field of a configuration resource, that move the port.
    """

    app: str
    port: int
    env: str
    config: str
    field: str
    setting: str

    @property
    def words(self) -> str:
        return f"`port {self.port} /metrics`"


@dataclass(frozen=True)
class Discovery:
    """What the API server says that it serves, as this command prints it."""

    command: str = "kubectl api-resources"

    @property
    def words(self) -> str:
        return f"`{self.command}`"


How = Api | Command | Admin | Log | Metrics | Discovery


class Secret(StrEnum):
    """What in a piece of evidence is secret by its place, beside what looks like a secret in any text."""

    OBJECTS = "arguments and environment of containers, probes, annotations"
    DESCRIBED = "arguments and environment of containers, probes, annotations, as they are printed"
    BIRD = "BGP passwords"
    NONE = ""


@dataclass(frozen=True)
class Item:
    """One row of the catalog.

    ``parser`` is a kind of text, or ``KIND:TABLE`` where not its main table is meant. ``scope`` is "cluster" or
    "node"; ``file`` the name in a recording's ``cluster/`` or ``nodes/<node>/`` folder (API lists know theirs);
    ``heavy`` marks what costs on a big node; ``secret`` says what in it must never leave: redaction goes by it. Where
    several rows have a kind, ``tells`` is what in a text shows that it is this one's; see :func:`row_of`. ``since`` is
    the version of the kit that asked for it first, "" for 0.1.0: recordings of older ones do not lack it. ``also`` are
    files that hold the same in another form. What is ``ipv6`` is asked for only where the cluster has IPv6.
    """

    id: str
    title: str
    how: How
    scope: str = "cluster"
    file: str = ""
    parser: str = ""
    heavy: bool = False
    secret: Secret = Secret.NONE
    guide: str = ""
    tells: str = ""
    since: str = ""
    also: tuple[str, ...] = ()
    ipv6: bool = field(default=False, kw_only=True)

    def younger_than(self, version: str) -> bool:
        """Whether that version of the kit did not know of this; "" is that of who was no version of the kit.

        >>> [Item("x", "", Discovery(), since="0.2.0").younger_than(v) for v in ("", "0.1.9", "0.2.0", "0.10.0")]
        [True, True, False, False]
        """
        return _numbers(version) < _numbers(self.since)

    @property
    def watched(self) -> bool:
        """Whether its samples over time tell more than one: counters, and what fills up."""
        return self.id in WATCHED

    @property
    def always_prints(self) -> bool:
        """Whether a text with nothing in it is no answer: commands of nodes, logs and scrapes that print anything."""
        asked = isinstance(self.how, Command | Log | Metrics | Discovery)
        return asked and self.id not in MAY_PRINT_NOTHING

    @property
    def ends_lines(self) -> bool:
        """Whether all that is printed ends with the end of a line, so that a text which does not is cut."""
        return isinstance(self.how, Command | Admin | Metrics | Discovery) and self.id not in UNENDED

    def files(self, node: str | None = None) -> Iterator[str]:
        """The paths in a recording at which this may stand, the first that exists counts."""
        if isinstance(self.how, Api):
            yield from self.how.files()
        else:
            yield from (f"nodes/{node}/{f}" if node else f"cluster/{f}" for f in (self.file, *self.also))

    @property
    def file_names(self) -> tuple[str, ...]:
        """What its file is called in a node's, the cluster's or a series' folder."""
        return tuple(path.rpartition("/")[2] for path in self.files())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


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
_EBPF = "felix-and-dataplane/ebpf-dataplane-if-enabled"
_METRICS = "performance-and-scaling/performance-metrics"
_USE = "performance-and-scaling/resource-utilization"
_TYPHA = "performance-and-scaling/typha-for-large-clusters"


def _list(id: str, title: str, how: Api, guide: str, since: str = "") -> Item:  # noqa: A002
    return Item(id, title, how, guide=guide, secret=Secret.OBJECTS, since=since)


def _core(plural: str, title: str, group: str = "v1", guide: str = "") -> Item:
    return _list(plural, title, Api((group,), (plural,)), guide)


def _calico(plural: str, title: str, *also: str, guide: str = "", newer: bool = False) -> Item:
    return _list(plural, title, Api(CALICO, (plural, *also), newer=newer), guide)


def _admin(
    id: str,  # noqa: A002
    title: str,
    words: str,
    parser: str,
    guide: str,
    tells: str = "",
    secret: Secret = Secret.NONE,
    since: str = "",
) -> Item:
    """A command of the cluster's administrator (kubectl, calicoctl)."""
    return Item(id, title, Admin(words), "cluster", f"{id}.txt", parser, False, secret, guide, tells, since)


def _node(
    id: str,  # noqa: A002
    title: str,
    *argvs: str,
    file: str = "",
    parser: str = "",
    guide: str = "",
    heavy: bool = False,
    secret: Secret = Secret.NONE,
    tells: str = "",
    since: str = "",
    ipv6: bool = False,
) -> Item:
    how = Command(tuple(tuple(a.split()) for a in argvs))
    return Item(
        id, title, how, "node", file or f"{id}.txt", parser or id, heavy, secret, guide, tells, since, ipv6=ipv6
    )


def _ipv6(id: str, title: str, *argvs: str, **more: Any) -> Item:  # noqa: A002
    """What tells of IPv6 only."""
    return _node(id, title, *argvs, since="0.2.0", ipv6=True, **more)


def _of_each_interface(*commands: str) -> Iterator[tuple[str, ...]]:
    """Fixed loops of bash, which calico-node's image has (node/clean-up-filesystem.sh), for what takes an interface.

    The names are the node's kernel's, and stay there: no word of the cluster becomes a word of a command. A program
    that the image has not ends the loop with 127.
    """
    for command in commands:
        yield ("bash", "-c", f"for i in /sys/class/net/*/; do i=${{i%/}}; i=${{i##*/}}; {command}; done")


def _bpf(words: str, title: str, heavy: bool = False, tells: str = "", table: str = "", form: str = "") -> Item:
    """A dump of Calico's BPF maps, as calico-node prints it; ``form`` is its file as JSON (since v3.33)."""
    name = "bpf-" + words.removesuffix(" dump").replace(" ", "-")
    argvs = [f"calico-node -bpf {words}", f"calico component node bpf {words}"]
    argvs += [f"calico component node bpf {words} --json"] if form else []
    item = _node(name, title, *argvs, parser=table or name, guide=_EBPF, heavy=heavy, tells=tells, since="0.2.0")
    return replace(item, also=(form,) if form else ())


def _bpftool(what: str, title: str, heavy: bool = True) -> Item:
    """What bpftool shows, as text or as JSON."""
    name = f"bpftool-{what}"
    argvs = (f"bpftool {what} show", f"bpftool -j {what} show")
    return replace(_node(name, title, *argvs, guide=_EBPF, heavy=heavy, since="0.2.0"), also=(f"{name}-json.json",))


def _log(id: str, title: str, path: str, file: str, guide: str = _LOGS, app: str = "calico-node") -> Item:  # noqa: A002
    return Item(id, title, Log(app, path), "node", file, id, guide=guide)


def _component(app: str, title: str, metrics: Metrics, guide: str, tells: str) -> Iterator[Item]:
    """The log and the metrics of a component of the cluster.

    A process of the combined binary has the names of all components; those of ``tells`` are set by one of them only.
    """
    name = app.removeprefix("calico-")
    yield Item(f"{name}-log", f"{title} log", Log(app), file=f"{name}.log", parser=f"{name}-log", guide=guide)
    file = f"{name}-metrics.prom"
    yield Item(f"{name}-metrics", f"{title} metrics", metrics, file=file, parser="prometheus", guide=guide, tells=tells)


def _birdcl(words: str, parser: str, guide: str, heavy: bool = False, tells: str = "", tells6: str = "") -> list[Item]:
    """birdcl knows its socket in images since v3.16; before, it has to be told. bird6 has a socket of its own."""
    argvs = (f"birdcl show {words}", f"birdcl -s /var/run/calico/bird.ctl show {words}")
    argvs6 = (
        f"birdcl6 show {words}",
        *(f"{c} -s /var/run/calico/bird6.ctl show {words}" for c in ("birdcl", "birdcl6")),
    )
    name = words.replace(" ", "-")
    more: dict[str, Any] = {"parser": parser, "guide": guide, "heavy": heavy}
    return [
        _ipv6(f"birdcl6-{name}", f"BIRD of IPv6: {words}", *argvs6, tells=tells6 or NEVER, **more),
        _node(f"birdcl-{name}", f"BIRD: {words}", *argvs, tells=tells, **more),
    ]


NEVER = r"(?!)"
"""What tells of a text that reads as another row's does: its command alone tells."""

_SESSION6 = r"^(?:Mesh|Global|Node)_(?!\d+_\d+_\d+_\d+(?:_port_\d+)?\s)[0-9a-f]*_\S+ +BGP "
"""A session that confd named after a peer's IPv6 address."""

_ROUTE6 = r"^[0-9a-f]*:[0-9a-f:]*/\d+ +(?:via|dev|blackhole|unreachable|prohibit|multipath)\b"


_JSON = r"\A\s*[\[{]"


def _without(never: str, *marks: str) -> str:
    """What tells of a text that has one of these, or anything if there are none, but not ``never``."""
    return rf"\A(?!(?s:.*)(?:{never}))" + (rf"(?s:.*)(?:{'|'.join(marks)})" if marks else "")


def _saved_by(tool: str) -> str:
    """What tells that a ``tool`` such as iptables-nft-save wrote a text: the first line that names one.

    The backend stands there only if it is nf_tables, and most images call their default one iptables-save; without such
    a line, IPv6's prefixes tell.
    """
    family, *backend = tool.removesuffix("-save").split("-")
    first = r"\A(?:(?!.*# Generated by ).*\n)*+.*?# Generated by "
    if backend == ["legacy"]:
        return rf"{first}{family}\S* \S++(?! ?\(nf_tables\))"
    named = rf"{first}{tool} \S+ ?\(nf_tables\)"
    v6 = _without("# Generated by ", r"-[sd] [0-9a-f:]*::", r"icmpv?6")
    return f"{named}|{v6}" if tool == "ip6tables-save" else named


_OF_IPAM = _without("protocol device", "calico_kernel_programming", r"calico_export_to_bgp_peers \(")
_ATTRIBUTES = r"^\s+(?:Type: |BGP\.)"

_POD_ROWS = r"NAME +READY +STATUS +RESTARTS|^(?:[\w.-]+ +)?[\w.-]+ +\d+/\d+ +[A-Z]\S* +\d+ "
"""Lines of `kubectl get pods`, whose header a grep may have taken."""

ITEMS = (
    _core("nodes", "Nodes", guide=_HEALTH),
    _core("pods", "Pods", guide=_HEALTH),
    _core("namespaces", "Namespaces", guide=_ALLOCATION),
    _core("services", "Services", guide=_ALLOCATION),
    _core("serviceaccounts", "Service accounts", guide=_POLICY),
    _core("endpointslices", "Endpoint slices: the backends of services", "discovery.k8s.io/v1", guide=_POLICY),
    _list(
        "configmaps",
        "The ConfigMap calico-config of a manifest install",
        Api(("v1",), ("configmaps",), "metadata.name=calico-config"),
        _HEALTH,
    ),
    _list(
        "pod-metrics",
        "CPU and memory usage of pods from metrics-server (`kubectl top pods`)",
        Api(("metrics.k8s.io/v1beta1",), ("pods",), optional=True),
        _USE,
    ),
    _core("events", "Events, as long as the API server keeps them", guide=_ISSUES),
    _core("daemonsets", "DaemonSets", "apps/v1", guide=_HEALTH),
    _core("deployments", "Deployments", "apps/v1", guide=_HEALTH),
    _calico("clusterinformations", "Calico's cluster information: version, datastore readiness", guide=_HEALTH),
    _calico("kubecontrollersconfigurations", "Configuration of kube-controllers: leak grace period", guide=_ISSUES),
    _calico("ippools", "IP pools", guide=_POOLS),
    _calico("ipamblocks", "IPAM blocks: which address is allocated to whom", guide=_ASSIGN),
    _calico("blockaffinities", "Block affinities: which node owns which block", guide=_ASSIGN),
    _calico("ipamhandles", "IPAM handles: the owners of addresses", guide=_ISSUES),
    _calico("ipamconfigs", "IPAM configuration", "ipamconfigurations", guide=_ASSIGN),
    _calico("ipreservations", "IP reservations", guide=_POOLS),
    _calico("bgpconfigurations", "BGP configuration", guide=_PEERS),
    _calico("bgppeers", "BGP peers", guide=_PEERS),
    _calico("bgpfilters", "BGP filters", guide=_PEERS),
    _calico("caliconodestatuses", "CalicoNodeStatus: BGP status reported by nodes", guide=_BGP),
    _calico("felixconfigurations", "Felix's configuration", guide=_FELIX),
    _calico("tiers", "Policy tiers", guide=_POLICY, newer=True),
    _calico("globalnetworkpolicies", "Calico GlobalNetworkPolicies", guide=_POLICY),
    _calico("networkpolicies", "Calico NetworkPolicies", guide=_POLICY),
    _calico("stagedglobalnetworkpolicies", "Staged GlobalNetworkPolicies", guide=_POLICY, newer=True),
    _calico("stagednetworkpolicies", "Staged NetworkPolicies", guide=_POLICY, newer=True),
    _calico("stagedkubernetesnetworkpolicies", "Staged Kubernetes NetworkPolicies", guide=_POLICY, newer=True),
    _calico("globalnetworksets", "GlobalNetworkSets", guide=_POLICY),
    _calico("networksets", "NetworkSets", guide=_POLICY),
    _calico("hostendpoints", "Host endpoints", guide=_POLICY),
    _list(
        "kubernetes-networkpolicies",
        "Kubernetes NetworkPolicies",
        Api(("networking.k8s.io/v1",), ("networkpolicies",)),
        _POLICY,
    ),
    *(
        _list(plural, title, Api((f"policy.networking.k8s.io/{version}",), (plural,), optional=True), _POLICY)
        for plural, version, title in (
            ("adminnetworkpolicies", "v1alpha1", "Admin network policies"),
            ("baselineadminnetworkpolicies", "v1alpha1", "Baseline admin network policies"),
            ("clusternetworkpolicies", "v1alpha2", "Cluster network policies"),
        )
    ),
    _list(
        "installations",
        "The operator's installation of Calico",
        Api(("operator.tigera.io/v1",), ("installations",), optional=True),
        _HEALTH,
    ),
    _list(
        "tigerastatuses",
        "What the operator says of its components: available, degraded, progressing",
        Api(("operator.tigera.io/v1",), ("tigerastatuses",), optional=True),
        _HEALTH,
        since="0.2.0",
    ),
    _list(
        "apiservers",
        "The operator's configuration and status of Calico's API server",
        Api(("operator.tigera.io/v1",), ("apiservers",), optional=True),
        _HEALTH,
        since="0.2.0",
    ),
    _list(
        "apiservices",
        "API services: who serves each API group, and availability",
        Api(("apiregistration.k8s.io/v1",), ("apiservices",), optional=True),
        _HEALTH,
    ),
    Item(
        "api-resources",
        "API resources: the kinds that the API server serves",
        Discovery(),
        file="kubectl-api-resources.txt",
        guide=_HEALTH,
    ),
    _admin("calicoctl-ipam-show", "Usage of pools", "calicoctl ipam show", "calicoctl-ipam-show", _ASSIGN),
    *(
        _admin(
            f"calicoctl-ipam-show-{what}",
            title,
            f"calicoctl ipam show --show-{what}",
            f"calicoctl-ipam-show{table}",
            _ASSIGN,
            tells,
        )
        for what, table, title, tells in (
            ("borrowed", ":borrowed", "Borrowed addresses", "BORROWING-NODE"),
            ("configuration", ":configuration", "IPAM configuration as calicoctl prints it", "PROPERTY"),
            ("blocks", "", "Usage of blocks", r"\| Block "),
        )
    ),
    _admin("calicoctl-ipam-check", "IPAM consistency check", "calicoctl ipam check", "calicoctl-ipam-check", _ISSUES),
    _admin(
        "calicoctl-ipam-check-all",
        "IPAM consistency check, every address",
        "calicoctl ipam check --show-all-ips --show-problem-ips",
        "calicoctl-ipam-check",
        _ISSUES,
        " allocated; attrs ",
    ),
    *(
        _admin(
            f"calicoctl-get-{id_}",
            f"calicoctl's list of {words}",
            f"calicoctl get {words}",
            "calicoctl-get",
            guide,
            tells,
        )
        for id_, words, guide, tells in (
            ("nodes-wide", "nodes -o wide", _BGP, r"NAME +ASN +IPV4"),
            ("nodes-yaml", "nodes -o yaml", _BGP, ""),
            ("workloadendpoints-wide", "workloadendpoints -A -o wide", _ENDPOINTS, r"NAME +WORKLOAD +NODE"),
            ("workloadendpoints-yaml", "workloadendpoints -A -o yaml", _ENDPOINTS, ""),
            ("ippools-wide", "ippools -o wide", _POOLS, r"NAME +CIDR +NAT"),
            ("bgppeers-wide", "bgppeers -o wide", _PEERS, r"NAME +PEERIP +NODE"),
            ("bgpconfig-yaml", "bgpconfigurations -o yaml", _PEERS, ""),
            ("np-wide", "networkpolicies -A -o wide", _POLICY, r"NAMESPACE +NAME +(?:TIER +)?ORDER +SELECTOR"),
            ("gnp-wide", "globalnetworkpolicies -o wide", _POLICY, r"NAME +(?:TIER +)?ORDER +SELECTOR"),
            ("profiles-yaml", "profiles -o yaml", _POLICY, ""),
            ("felixconfig-yaml", "felixconfigurations -o yaml", _FELIX, ""),
        )
    ),
    _admin("calicoctl-version", "Versions", "calicoctl version", "calicoctl-version", _HEALTH),
    *(
        _admin(f"kubectl-get-{id_}", title, f"kubectl get {words}", "kubectl-get", _HEALTH, tells, since=since)
        for id_, title, words, tells, since in (
            ("pods-wide", "Pods", "pods -A -o wide", _POD_ROWS, ""),
            ("nodes-wide", "Nodes", "nodes -o wide", r"NAME +STATUS +ROLES", ""),
            ("apiservices", "API services", "apiservices", r"NAME +SERVICE +AVAILABLE", "0.2.0"),
            ("tigerastatus", "The operator's components", "tigerastatus", r"NAME +AVAILABLE +PROGRESSING", "0.2.0"),
        )
    ),
    _admin("kubectl-get-events", "Events", "kubectl get events -A", "kubectl-events", _ISSUES),
    _admin(
        "kubectl-describe-nodes",
        "Description of nodes",
        "kubectl describe nodes",
        "kubectl-describe",
        _HEALTH,
        "^Roles:",
        Secret.DESCRIBED,
    ),
    _admin(
        "kubectl-describe-tigerastatus",
        "Description of the operator's components",
        "kubectl describe tigerastatus",
        "kubectl-describe",
        _HEALTH,
        "^Kind: +TigeraStatus",
        since="0.2.0",
    ),
    _admin(
        "kubectl-describe-pods",
        "Description of Calico's pods",
        "kubectl describe pods -n kube-system",
        "kubectl-describe",
        _HEALTH,
        secret=Secret.DESCRIBED,
    ),
    _admin("kernel-log", "Kernel log", "dmesg", "dmesg", _DROPS),
    *_component(
        "calico-typha",
        "Typha's",
        Metrics(
            "calico-typha",
            9093,
            "TYPHA_PROMETHEUSMETRICSPORT",
            "",
            "",
            "TYPHA_PROMETHEUSMETRICSENABLED=true (operator: typhaMetricsPort)",
        ),
        _TYPHA,
        r"^typha_(?:breadcrumb_size|client_latency_secs|ping_latency)[{ ]",
    ),
    *_component(
        "calico-kube-controllers",
        "kube-controllers'",
        Metrics(
            "calico-kube-controllers",
            9094,
            "",
            "kubecontrollersconfigurations",
            "prometheusMetricsPort",
            "prometheusMetricsPort in KubeControllersConfiguration (0 is off)",
        ),
        _LOGS,
        r"^ipam_(?:allocations_in_use|blocks)[{ ]",
    ),
    *(
        _node(
            f"{component}-ready",
            f"{component.capitalize()}'s readiness",
            f"calico-node -{component}-ready",
            f"calico component node health --{component}-ready",
            parser="health-ready",
            guide=_READY,
            tells=tells,
            since="0.2.0" if component == "bird6" else "",
            ipv6=component == "bird6",
        )
        for component, tells in (
            ("felix", _without("BIRD|BGP", "elix")),
            ("bird6", "BIRDv6|bird6"),
            ("bird", "BIRD|BGP"),
        )
    ),
    _node("nodename", "calico-node's name on the node", "cat /var/lib/calico/nodename", guide=_READY),
    _node(
        "calicoctl-node-status",
        "BGP sessions as calicoctl shows them",
        "calicoctl node status",
        *("calico-node -show-status", "calico component node status"),  # calico-node's image has no calicoctl
        guide=_BGP,
    ),
    *_birdcl("status", "bird-status", _BGP),
    *_birdcl(
        "protocols all", "bird-protocols", _BGP, tells=r"^ {2,}\S", tells6=rf"\A(?=(?s:.)*^ {{2,}}\S)(?s:.)*{_SESSION6}"
    ),
    *_birdcl("protocols", "bird-protocols", _BGP, tells6=_SESSION6),
    *_birdcl(
        "route all",
        "bird-routes",
        _BGP,
        heavy=True,
        tells=_ATTRIBUTES,
        tells6=rf"\A(?=(?s:.)*{_ATTRIBUTES})(?s:.)*{_ROUTE6}",
    ),
    *_birdcl("route", "bird-routes", _BGP, tells6=_ROUTE6),
    *_birdcl("route count", "bird-routes:bird_route_count", _BGP, tells=_without(r"\[\S+ [\d:.-]+")),
    *_birdcl("interfaces", "bird-interfaces", _BGP),
    *(
        _node(
            name,
            f"BIRD's configuration: {name}",
            f"cat /etc/calico/confd/config/{name}",
            file=name,
            parser="bird-config" if name in ("bird.cfg", "bird6.cfg") else "bird-config:bird_filters",
            guide=_PEERS,
            secret=Secret.BIRD,
            tells=tells,
            since="0.2.0" if "6" in name else "",
            ipv6="6" in name,
        )
        for name, tells in (  # by the templates in confd/etc/calico/confd/templates
            ("bird6_ipam.cfg", rf"\A(?=(?s:.)*net ~ [0-9a-f]*:){_OF_IPAM}"),
            ("bird6.cfg", r'include "bird6_'),
            ("bird6_aggr.cfg", r"^ *route [0-9a-f]*:[0-9a-f:]*/\d+ blackhole"),
            ("bird_ipam.cfg", _OF_IPAM),
            ("bird.cfg", r"protocol (?:bgp|device|kernel|direct)|router id"),
            ("bird_aggr.cfg", ""),
        )
    ),
    _node("ip-addr", "Interfaces and addresses", "ip -d addr", guide=_LINKS),
    _node(
        "ip-addr-json",
        "Interfaces and addresses",
        "ip -j -d addr",
        file="ip-addr-json.json",
        parser="ip-addr",
        guide=_LINKS,
        tells=_JSON,
    ),
    _node("ip-link-stats", "Interface counters", "ip -s -s link", parser="ip-link", guide=_LINKS),
    _node(
        "ip-link-stats-json",
        "Interface counters",
        "ip -j -s -s link",
        file="ip-link-stats-json.json",
        parser="ip-link",
        guide=_LINKS,
        tells=_JSON,
    ),
    _node("ip-route", "Routes of the main table", "ip route", guide=_ROUTES),
    _node(
        "ip-route-all",
        "Routes of all tables",
        "ip route show table all",
        parser="ip-route",
        guide=_ROUTES,
        tells=r"\btable \w",
    ),
    _node(
        "ip-route-json",
        "Routes of all tables",
        "ip -j route show table all",
        file="ip-route-json.json",
        parser="ip-route",
        guide=_ROUTES,
        tells=_JSON,
    ),
    _node("ip-rule", "Routing rules", "ip rule", guide=_ROUTES),
    Item(
        "wg-show",
        "WireGuard interfaces and peers",
        Admin("wg show"),
        "node",
        "wg-show.txt",
        "wg-show",
        guide=_LINKS,
        since="0.2.0",
    ),
    _node("ip-neigh", "Neighbours", "ip neigh", guide=_ROUTES),
    *(
        _ipv6(id_, f"{title} of IPv6", words, parser=parser, guide=_ROUTES, tells=NEVER)
        for id_, title, words, parser in (
            ("ip-route6", "Routes of the main table", "ip -6 route", "ip-route"),
            ("ip-route6-all", "Routes of all tables", "ip -6 route show table all", "ip-route"),
            ("ip-rule6", "Routing rules", "ip -6 rule", "ip-rule"),
            ("ip-neigh6", "Neighbours", "ip -6 neigh", "ip-neigh"),
        )
    ),
    _node(
        "bridge-fdb",
        "Forwarding database (FDB), including VXLAN",
        "bridge fdb show",
        "ip -f bridge neigh show",  # calico-node's image has no bridge
        guide=_ROUTES,
    ),
    _node("iptables-save", "iptables rules with counters", "iptables-save -c", guide=_RULES, heavy=True),
    *(
        _node(
            f"{tool}-save",
            f"Rules of {tool}",
            f"{tool}-save -c",
            parser="iptables-save",
            guide=_RULES,
            heavy=True,
            tells=_saved_by(f"{tool}-save"),
        )
        for tool in ("iptables-nft", "iptables-legacy", "ip6tables", "ip6tables-nft", "ip6tables-legacy")
    ),
    *(
        _node(id_, "iptables rules as listed", words, parser="iptables-list", guide=_RULES, heavy=True, tells=tells)
        for id_, words, tells in (
            ("iptables-nat-L", "iptables -t nat -L -n -v", _without("^Chain FORWARD ", r"^Chain P(?:RE|OST)ROUTING ")),
            ("iptables-filter-L-human", "iptables -L -n -v --line-numbers", r"^num +pkts"),
            ("iptables-filter-L", "iptables -t filter -L -n -v -x", ""),
        )
    ),
    _node("ipset-list", "IP sets with their members", "ipset list", guide=_RULES, heavy=True),
    _node("ipset-save", "IP sets in restore format", "ipset save", guide=_RULES, heavy=True),
    _node("nft-ruleset", "nftables rules", "nft list ruleset", guide=_RULES, heavy=True),
    _node(
        "nft-ruleset-json",
        "nftables rules",
        "nft -j list ruleset",
        file="nft-ruleset-json.json",
        parser="nft-ruleset",
        guide=_RULES,
        heavy=True,
        tells=_JSON,
    ),
    _node(
        "conntrack-stats",
        "conntrack counters",
        "conntrack -S",
        parser="conntrack:conntrack_stats",
        guide=_DROPS,
        tells=r"^cpu=\d",
    ),
    _node("conntrack", "conntrack entries", "conntrack -L", guide=_DROPS, heavy=True),
    _node(
        "sysctl-net",
        "Kernel network settings (sysctl)",
        "sysctl -a",
        "grep -rs . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/netfilter",
        parser="sysctl",
        guide=_DROPS,
    ),
    _ipv6(
        "sysctl-net6",
        "Kernel network settings of IPv6 (sysctl)",
        r"sysctl -a --pattern ^net\.ipv6\.conf\..*\.(forwarding|proxy_ndp|accept_ra|disable_ipv6)$",
        "grep -rs . /proc/sys/net/ipv6/conf --include=forwarding --include=proxy_ndp --include=accept_ra "
        "--include=disable_ipv6",
        parser="sysctl",
        guide=_DROPS,
        tells=_without(r"net[./]ipv4", r"net[./]ipv6[./]conf"),
    ),
    _node(
        "ss-summary",
        "Sockets in use",
        *("ss -s", "cat /proc/net/sockstat /proc/net/sockstat6"),
        parser="ss:ss_summary",
        guide=_DROPS,
        tells=r"^Total: \d|^sockets: used",
    ),
    _node(
        "ss-bgp", "TCP connections of BGP", "ss -tnap", "cat /proc/net/tcp /proc/net/tcp6", parser="ss", guide=_BGP_DOWN
    ),
    _node("tc-qdisc", "Queueing disciplines and their drops", "tc -s qdisc", guide=_LINKS),
    _bpftool("net", "BPF programs attached to interfaces", heavy=False),
    _bpftool("prog", "BPF programs that are loaded"),
    _bpftool("map", "BPF maps, with their sizes"),
    _bpftool("link", "BPF links, which hold programs at their hooks"),
    _bpf("counters dump", "Packets that eBPF programs let pass and dropped", form="bpf-counters-json.json"),
    _bpf("routes dump", "Routes that eBPF programs know", heavy=True, form="bpf-routes-json.json"),
    *(
        _bpf(f"nat {words}", title, True, tells, f"bpf-nat{table}", form)
        for words, title, tells, table, form in (
            (
                "aff",
                "Clients that eBPF programs keep at a backend",
                r'^client \S+ svc |"client_ip"',
                ":bpf_nat_affinity",
                "",
            ),
            (
                "maglev",
                "Backends of services in Maglev's tables",
                r'^svc \d+ ordinal |"svc_id"',
                ":bpf_nat_backends",
                "",
            ),
            ("dump", "Services and backends that eBPF programs know", "", "", "bpf-nat-json.json"),
        )
    ),
    _bpf("conntrack stats", "Connections that eBPF programs track, counted"),
    _bpf("conntrack dump", "Connections that eBPF programs track", heavy=True, form="bpf-conntrack-json.json"),
    _bpf("ipsets dump", "IP sets of eBPF programs, with their members", heavy=True, form="bpf-ipsets-json.json"),
    _bpf("ifstate dump", "Interfaces that eBPF programs know", form="bpf-ifstate-json.json"),
    _bpf("arp dump", "Neighbours that eBPF programs know", form="bpf-arp-json.json"),
    Item(
        "bpf-policy",
        "Rules of eBPF policy programs, with their hits",
        Command(
            tuple(
                _of_each_interface(
                    'calico-node -bpf policy dump "$i" all || exit',
                    'calico component node bpf policy dump "$i" all || exit',
                )
            ),
            "calico-node -bpf policy dump INTERFACE all",
        ),
        "node",
        "bpf-policy.txt",
        "bpf-policy",
        heavy=True,
        guide=_EBPF,
        since="0.2.0",
    ),
    Item(
        "tc-filter",
        "tc filters of interfaces",
        Command(
            tuple(
                _of_each_interface(
                    r'for h in ingress egress; do echo "\$ tc -s filter show dev $i $h"; '
                    'tc -s filter show dev "$i" "$h"; done'
                )
            ),
            "tc -s filter show dev INTERFACE ingress",
        ),
        "node",
        "tc-filter.txt",
        "tc-filter",
        heavy=True,
        guide=_EBPF,
        since="0.2.0",
    ),
    _node("proc-net-dev", "Interface counters", "cat /proc/net/dev", guide=_LINKS),
    _node("nstat", "Network stack counters", "nstat -az", "cat /proc/net/snmp /proc/net/netstat", guide=_DROPS),
    _node(
        "cni-net.d",
        "CNI configuration",
        "grep -rs . /host/etc/cni/net.d --include=*.conf --include=*.conflist --include=*.json",
        "grep -rs . /etc/cni/net.d --include=*.conf --include=*.conflist --include=*.json",
        parser="cni-conflist",
        guide=_ISSUES,
    ),
    Item(
        "felix-metrics",
        "Felix's metrics",
        Metrics(
            "calico-node",
            9091,
            "FELIX_PROMETHEUSMETRICSPORT",
            "felixconfigurations",
            "prometheusMetricsPort",
            "prometheusMetricsEnabled: true in FelixConfiguration default",
        ),
        "node",
        "felix-metrics.prom",
        "prometheus",
        guide=_METRICS,
        tells=r"^felix_(?:host|calc_graph_updates_processed|int_dataplane_messages)[{ ]",
    ),
    _log("felix-log", "Felix's log", "/var/log/calico/felix/current", "felix.log"),
    _log("bird-log", "BIRD's log", "/var/log/calico/bird/current", "bird.log", _BGP_DOWN),
    Item(
        "bird6-log",
        "BIRD's log of IPv6",
        Log("calico-node", "/var/log/calico/bird6/current"),
        "node",
        "bird6.log",
        "bird-log",
        guide=_BGP_DOWN,
        tells=r"^(?:\S+ )?bird6(?:\[\d+\])?: ",
        since="0.2.0",
        ipv6=True,
    ),
    _log("confd-log", "confd's log", "/var/log/calico/confd/current", "confd.log"),
    _log("startup-log", "calico-node's startup log", "/var/log/calico/startup/current", "startup.log"),
    _log("cni-log", "The CNI plugin's log", CNI_LOG, "cni.log", app=""),
    *(
        Item(id_, title, how, "node", file, parser, guide=_LOGS, since="0.2.0")
        for id_, title, how, file, parser in (
            (
                "felix-previous-log",
                "Felix's log of calico-node's run before",
                Log("calico-node", previous=True),
                "felix-previous.log",
                "felix-log",
            ),
            (
                "startup-previous-log",
                "calico-node's startup log of the run before",
                Log("calico-node", previous=True),
                "startup-previous.log",
                "startup-log",
            ),
            (
                "init-log",
                "Log of calico-node's init container that fails (install-cni)",
                Log("calico-node", init=True),
                "init.log",
                "startup-log",
            ),
        )
    ),
)

PREVIOUS = {"felix-previous-log": "felix-log", "startup-previous-log": "startup-log"}
"""The log of a container's run before → the log whose service's lines it holds."""

CATALOG: dict[str, Item] = {item.id: item for item in ITEMS}

OF_EBPF = frozenset(i for i in CATALOG if i.startswith(("bpf-", "bpftool-", "tc-filter")))
"""What tells something only of a node whose Felix runs, or was to run, the eBPF dataplane."""


def _is_past(item: Item) -> bool:
    """Whether it is a log that reads like another one and is of a run before, or of an init container."""
    return isinstance(item.how, Log) and (item.how.previous or item.how.init)


def row_of(kind: str, text: str) -> Item | None:
    """The row of the catalog whose text this is, known to be of a kind; None where nothing tells.

    The first row that ``tells`` something which is there; else the one that tells nothing, if only one does not.

    >>> row_of("ss", "Total: 120\\nTCP: 3\\n").id, row_of("ss", "State Recv-Q Send-Q\\n").id
    ('ss-summary', 'ss-bgp')
    """
    rows = [item for item in ITEMS if item.parser.partition(":")[0] == kind and not _is_past(item)]
    told = next((row for row in rows if row.tells and re.search(row.tells, text, re.MULTILINE)), None)
    others = [row for row in rows if not row.tells]
    return told or (others[0] if len(others) == 1 else None)
