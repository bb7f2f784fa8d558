"""What the CNI plugin's errors mean: its words, the cause, and the finding that names it.

Source of the words: cni-plugin/ and libcalico-go/lib/ipam at HEAD, and recordings; the first that fits counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One kind of error: a word for it, the finding id that names it, what it means, what to do."""

    word: str
    finding: str
    words: re.Pattern[str]
    means: str
    remedy: str


def _cause(word: str, finding: str, words: str, means: str, remedy: str) -> Cause:
    return Cause(word, finding, re.compile(words), means, remedy)


CAUSES = (
    _cause(
        "forbidden",
        "crd-or-rbac-missing",
        r'is forbidden: User "system:serviceaccount:',
        "the CNI plugin's service account lacks permissions it needs",
        "Apply the ClusterRole and ClusterRoleBinding calico-cni-plugin of the Calico version that runs.",
    ),
    _cause(
        "kind-missing",
        "crd-or-rbac-missing",
        r"could not find the requested resource|no matches for kind",
        "the API server does not serve a kind that the CNI plugin requests",
        "Install the CustomResourceDefinitions of the Calico version that runs.",
    ),
    _cause(
        "unauthorized",
        "cni-unauthorized",
        r"connection is unauthorized|\bUnauthorized\b|is forbidden: User|provide credentials",
        "the API server refuses the credentials in the CNI plugin's kubeconfig",
        "Restart calico-node on the node: it writes a new token to /etc/cni/net.d/calico-kubeconfig; if that does "
        "not help, check the node's clock and the ClusterRole of its service account.",
    ),
    _cause(
        "datastore-not-ready",
        "datastore-not-ready",
        r"Calico is currently not ready to process requests",
        "Calico's datastore is locked (ClusterInformation datastoreReady: false)",
        "If no migration or upgrade is running, unlock it: calicoctl datastore migrate unlock.",
    ),
    _cause(
        "strict-affinity",
        "ipam-strict-affinity-full",
        r"No more free affine blocks and strict affinity enabled",
        "the node's own blocks are full, no whole block is left, and strictAffinity forbids borrowing",
        "Add a pool or free whole blocks; or, without Windows nodes, disable strictAffinity.",
    ),
    _cause(
        "block-limit",
        "ipam-strict-affinity-full",
        r"limit of \d+ blocks reached for this node|per host block limit",
        "the node has reached its block limit (maxBlocksPerHost)",
        "Raise maxBlocksPerHost (requires strictAffinity), use larger blocks in a new pool, or move pods away.",
    ),
    _cause(
        "exhausted",
        "ipam-exhausted",
        r"No IPs available in pools|All addresses exhausted in pool",
        "every pool that the pod can use is exhausted",
        "Add an IP pool or free addresses.",
    ),
    _cause(
        "no-pool",
        "ippool-nodeselector",
        r"no configured Calico pools for node",
        "no enabled pool selects this node and namespace",
        "Let a pool's nodeSelector (and namespaceSelector) match the node.",
    ),
    _cause(
        "no-qualified-pool",
        "ippool-disabled",
        r"cannot find a qualified ippool|no pools match the required use",
        "no enabled pool of this IP version allows workloads",
        "Enable a pool, or add Workload to its allowedUses.",
    ),
    _cause(
        "pool-not-enabled",
        "ippool-disabled",
        r"the given pool \(?(?P<pool>[^)]*?)\)? does not exist, or is not enabled",
        "the pool that the pod or namespace requests by name is disabled or does not exist",
        "Enable the pool, or change the annotation cni.projectcalico.org/ipv4pools (or ipv6pools).",
    ),
    _cause(
        "datastore-unreachable",
        "datastore-unreachable",
        r"error getting ClusterInformation: (Get|Post)|dial tcp .*(i/o timeout|connection refused|no route to host)",
        "the node cannot reach the API server",
        "Check connectivity from the node to the API server's service address: kube-proxy, routes, firewall.",
    ),
    _cause(
        "node-not-started",
        "cni-error",
        r"stat /var/lib/calico/nodename: no such file",
        "calico-node has never started on this node",
        "Look at the calico-node pod of this node: kubectl describe pod, and its logs.",
    ),
    _cause(
        "plugin-missing",
        "cni-error",
        r'failed to find plugin "[^"]*" in path|cni plugin not initialized|executable file not found',
        "the CNI plugin's binaries are not on the node",
        "Look at calico-node's init container install-cni on this node.",
    ),
    _cause(
        "route-exists",
        "cni-error",
        r"route .*already exists for an interface other than",
        "the address still has a route to another interface on the node",
        "Find the interface that the route names; if no pod owns it, delete it with its route.",
    ),
    _cause(
        "address-taken",
        "cni-error",
        r"Address already assigned in block|resource already exists",
        "the fixed address that the pod requests is in use",
        "Find its owner in ipam.allocations; change the annotation cni.projectcalico.org/ipAddrs or the owner.",
    ),
    _cause(
        "address-outside",
        "cni-error",
        r"The provided IP address is not in a configured pool",
        "the fixed address that the pod requests is in no pool",
        "Change the annotation cni.projectcalico.org/ipAddrs, or add a pool.",
    ),
    _cause(
        "contention",
        "cni-error",
        r"Max retries hit - excessive concurrent IPAM requests|failed to find or claim a block",
        "too many concurrent IPAM requests, or autoAllocateBlocks is off and no block is free",
        "Check autoAllocateBlocks and the API server's latency.",
    ),
)

OTHER = Cause(
    "other",
    "cni-error",
    re.compile(""),
    "the CNI plugin fails",
    "Read the message, and the node's /var/log/calico/cni/cni.log around that time.",
)

BY_WORD = {c.word: c for c in (*CAUSES, OTHER)}

_OF_CALICO = re.compile(
    r'plugin type="calico[^"]*" failed \(add\): |networkPlugin cni failed to set up pod "[^"]*" network: '
)
_OF_CNI = re.compile(r'failed to (?:setup|set up) network for sandbox "[^"]*": |cni plugin not initialized')
POOLS_IN_ERROR = re.compile(r"No IPs available in pools: \[(?P<pools>[^\]]*)\]")


def cause_of(message: str) -> Cause:
    """The cause that an error's words tell.

    >>> cause_of("Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.0.0.0/26]").word
    'exhausted'
    """
    return next((c for c in CAUSES if c.words.search(message)), OTHER)


def cni_error(message: str) -> str | None:
    """The CNI plugin's own words in a kubelet's event; None where the sandbox failed for another reason.

    >>> cni_error('… "ab12": plugin type="calico" failed (add): Unauthorized')
    'Unauthorized'
    """
    if found := _OF_CALICO.search(message):
        return message[found.end() :]
    if found := _OF_CNI.search(message):
        return message[found.start() if message[found.start()] == "c" else found.end() :]
    return None
