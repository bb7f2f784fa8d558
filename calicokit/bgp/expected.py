"""Which sessions each node should have, from the resources alone: what confd would write into bird.cfg.

Source: confd/pkg/backends/calico/client.go (updatePeersV1) and bgp_processor.go (processMeshPeers, buildPeerFromData);
up to v3.31 the second part is bird.cfg.template, which says the same but where a comment here tells otherwise.
A mesh of 2,000 nodes has 4,000,000 rows: they are made as arrays of numbers, and text is put to them as categories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from calicokit.bgp.codes import category
from calicokit.registry import UnseenError, table
from calicokit.schema import Column, Schema, records
from calicokit.selectors import SelectorError, parse

EXPECTED = Schema(
    "bgp.expected",
    "Sessions that each node should have, as confd would generate them, and the resource that configures them.",
    (
        Column("node", "category", "local node of this direction"),
        Column("protocol", "category", "confd's name of the session: Mesh_…, Global_…, Node_…, Local_Workload_…"),
        Column("kind", "category", "Mesh, Global, Node or Local_Workload"),
        Column("family", "int", "4 or 6"),
        Column("peer", "category", "peer: node, workload NS/POD, or external router's address"),
        Column("internal", "bool", "the peer is a node of this cluster"),
        Column("peer_address", "category", "address of the other end"),
        Column("peer_port", "int", "port of the peer; null: 179"),
        Column("local_as", "int", "local AS"),
        Column("peer_as", "int", "AS expected of the peer"),
        Column("source_address", "category", "local address; null: chosen by the route"),
        Column("passive", "bool", "passive: waits for the peer to connect"),
        Column("rr_client", "bool", "the peer is a client of this route reflector"),
        Column("cluster_id", "category", "route reflector cluster id for the client"),
        Column("password", "category", "SECRET/KEY of the password; null for none"),
        Column("ttl", "int", "maximum hops (TTL security); null: off", "hops"),
        Column("next_hop", "category", "Keep or Self; null for neither"),
        Column("filters", "category", "BGPFilters in their order; null for none"),
        Column("restart_time", "int", "graceful restart time; null: BIRD's 120", "s"),
        Column("keepalive_time", "int", "keepalive time; null: BIRD's, a third of the hold time", "s"),
        Column("allow_local_as", "int", "times the local AS may appear in a path"),
        Column("reachable_by", "category", "gateway of the static route to the peer"),
        Column("why", "category", "the resource that configures it"),
        Column("contested", "bool", "other BGPPeers configure the same session; confd picks any of them"),
    ),
    key=("node", "protocol", "family"),
)

KINDS = ("Mesh", "Global", "Node", "Local_Workload")
MESH, GLOBAL, NODE, WORKLOAD = range(4)
MESH_WHY = "BGPConfiguration default: mesh"
FIRST_IN_GO = (3, 32)
"""Since this version the sessions are computed in Go, where a mesh peer without an AS of its own is given ours."""

Ints = NDArray[np.int64]
_CODES = ("local", "remote", "address", "port", "peer_as", "cluster", "calico", "kind", "resource", "order")


@table(
    EXPECTED,
    needs={"nodes": "bgp.nodes", "configuration": "bgp.configuration", "peers": "bgp.peers", "use": "bgp.use"},
    wants={"install": "health.install", "pods": "kube.pods"},
)
def expected(
    nodes: pd.DataFrame,
    configuration: pd.DataFrame,
    peers: pd.DataFrame,
    use: pd.DataFrame,
    install: pd.DataFrame | None = None,
    pods: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row for each node and session; see :data:`EXPECTED`. None where BGP is not in use."""
    in_use = use["in_use"].iloc[0] if len(use) else False
    if pd.isna(in_use):
        raise UnseenError("whether BGP is in use is unknown")
    if not in_use:
        return EXPECTED.frame()
    facts = [(r.version, r.cluster_version) for r in records(install)] if install is not None else []
    world = _World(nodes, configuration.iloc[0], list(records(peers)), _made_in_go(facts), pods)
    parts = [world.family(version) for version in (4, 6)]
    return parts[0] if not len(parts[1]) else EXPECTED.take(pd.concat(parts, ignore_index=True))


def _made_in_go(facts: Sequence[tuple[Any, ...]]) -> bool:
    """Whether this version's sessions are computed in Go; where no tag tells the version, it is a new one."""
    for text in (t for fact in facts for t in fact if isinstance(t, str)):
        if match := re.match(r"v?(\d+)\.(\d+)", text):
            return (int(match[1]), int(match[2])) >= FIRST_IN_GO
    return True


def matching(nodes: pd.DataFrame, selector: str | None) -> list[int]:
    """Places of the nodes that a selector picks; none where Calico would refuse it."""
    try:
        wanted = parse(selector or "")
    except SelectorError:
        return []
    return [i for i, own in enumerate(nodes["labels"]) if wanted.matches(own)]


@dataclass
class _World:
    nodes: pd.DataFrame
    configuration: Any
    peers: list[Any]
    in_go: bool
    pods: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        self.peers.sort(key=lambda p: p.peer)  # confd goes through a map, in any order
        self.as_number = self.nodes["as_number"].to_numpy("int64")
        self.has_own_as = self.nodes["own_as"].notna().to_numpy()
        self.ports = self.nodes["listen_port"].fillna(0).to_numpy("int64")
        clusters = [c if isinstance(c, str) else "" for c in self.nodes["cluster_id"]]
        self.clusters = sorted({"", *clusters})
        self.cluster = np.array([self.clusters.index(c) for c in clusters], dtype="int64")
        self.index = {n: i for i, n in enumerate(self.nodes["node"])}

    def family(self, version: int) -> pd.DataFrame:
        found = _Family(self, version)
        return found.table()


class _Family:
    """The sessions of one IP version."""

    def __init__(self, world: _World, version: int) -> None:
        self.world, self.version = world, version
        column = "address" if version == 4 else "address6"
        texts = [a if isinstance(a, str) else "" for a in world.nodes[column]]
        self.texts = list(dict.fromkeys(["", *texts]))
        self.known = {t: i for i, t in enumerate(self.texts)}
        self.address = np.array([self.known[t] for t in texts], dtype="int64")
        self.active = np.flatnonzero(self.address > 0)  # nodes with an address of this family
        self.workloads: dict[int, str] = {}  # place of an address → NS/POD

    def table(self) -> pd.DataFrame:
        if not len(self.active):
            return EXPECTED.frame()
        chunks = [*self.mesh(), *self.configured()]
        if not chunks:
            return EXPECTED.frame()
        codes = {c: np.concatenate([k[c] for k in chunks]) for c in (*_CODES, "contested")}
        return self.dress(codes)

    # ---- who with whom

    def mesh(self) -> Iterator[dict[str, Ints]]:
        """All nodes with an address that are no route reflectors, each with each."""
        world = self.world
        if not world.configuration.mesh:
            return
        members = np.array([i for i in self.active if world.cluster[i] == world.clusters.index("")], dtype="int64")
        local, remote = np.repeat(members, len(members)), np.tile(members, len(members))
        other = self.address[local] != self.address[remote]
        local, remote = local[other], remote[other]
        spare = world.as_number[local] if world.in_go else world.configuration.as_number
        peer_as = np.where(world.has_own_as[remote], world.as_number[remote], spare)
        yield self.chunk(local, remote, self.address[remote], world.ports[remote], peer_as, kind=MESH) | {
            "contested": np.zeros(len(local), dtype="int64")
        }

    def configured(self) -> Iterator[dict[str, Ints]]:
        """What the BGPPeers ask for; of several for one address and port on a node the first counts."""
        chunks = [c for c in self.asked() if len(c["local"])]
        if not chunks:
            return
        frame = pd.DataFrame({c: np.concatenate([k[c] for k in chunks]) for c in _CODES})
        key = ["local", "address", "port"]
        # Global peerings come first and drive out the nodes' own ones to the same address and port.
        same = frame.groupby([*key, "order"], sort=False)["resource"].transform("nunique") > 1
        frame = frame.assign(contested=same.astype("int64")).sort_values("order", kind="stable").drop_duplicates(key)
        ours = self.address[frame["local"].to_numpy()] == frame["address"].to_numpy()
        frame = frame[~ours]
        yield {c: frame[c].to_numpy("int64") for c in (*_CODES, "contested")}

    def asked(self) -> Iterator[dict[str, Ints]]:
        """Each BGPPeer's ends: global ones (order 0), those of nodes (1), and the way back (2)."""
        for place, peer in enumerate(self.world.peers):
            is_global = not isinstance(peer.node, str) and not isinstance(peer.node_selector, str)
            locals_ = self.active if is_global else self.own_nodes(peer)
            yield self.forward(place, peer, locals_, is_global)
        for place, peer in enumerate(self.world.peers):
            if bool(peer.reverse) and not isinstance(peer.workload_selector, str):
                yield self.backward(place, peer)

    def own_nodes(self, peer: Any) -> Ints:
        """Nodes that the BGPPeer is for, where it names some."""
        if isinstance(peer.node_selector, str):
            found = matching(self.world.nodes, peer.node_selector)
        else:
            found = [self.world.index[peer.node]] if peer.node in self.world.index else []
        return np.intersect1d(np.array(found, dtype="int64"), self.active)

    def forward(self, place: int, peer: Any, locals_: Ints, is_global: bool) -> dict[str, Ints]:
        kind, order = (GLOBAL, 0) if is_global else (NODE, 1)
        if isinstance(peer.workload_selector, str):
            return self.local_workloads(place, peer, locals_, order)
        if isinstance(peer.peer_selector, str):
            ends = np.intersect1d(np.array(matching(self.world.nodes, peer.peer_selector), dtype="int64"), self.active)
            return self.to_nodes(locals_, ends, place, kind, order)
        return self.to_address(place, peer, locals_, kind, order)

    def backward(self, place: int, peer: Any) -> dict[str, Ints]:
        """What makes the peering symmetric: the nodes at the remote end peer with those of the local end."""
        if isinstance(peer.peer_selector, str):
            locals_ = np.array(matching(self.world.nodes, peer.peer_selector), dtype="int64")
        else:
            locals_ = np.array(self.nodes_at(peer), dtype="int64")
        named = isinstance(peer.node, str) or isinstance(peer.node_selector, str)
        ends = self.own_nodes(peer) if named else self.active
        return self.to_nodes(np.intersect1d(locals_, self.active), ends, place, NODE, 2)

    def to_nodes(self, locals_: Ints, ends: Ints, place: int, kind: int, order: int) -> dict[str, Ints]:
        world = self.world
        local, remote = np.repeat(locals_, len(ends)), np.tile(ends, len(locals_))
        made = self.chunk(
            local, remote, self.address[remote], world.ports[remote], world.as_number[remote], kind, place, order
        )
        return made | {"cluster": world.cluster[remote]}

    def to_address(self, place: int, peer: Any, locals_: Ints, kind: int, order: int) -> dict[str, Ints]:
        """The one address of a BGPPeer with peerIP; a malformed one, or one of the other family, asks for nothing."""
        address = peer.address if isinstance(peer.address, str) else ""
        wrong_way = isinstance(peer.reachable_by, str) and (":" in peer.reachable_by) != (self.version == 6)
        if not address or (":" in address) != (self.version == 6) or wrong_way:
            locals_ = locals_[:0]
        code = self.known.setdefault(address, len(self.texts))
        if code == len(self.texts):
            self.texts.append(address)
        at = np.flatnonzero(self.address == code)
        remote = np.full(len(locals_), at[0] if len(at) and address else -1, dtype="int64")
        port = int(peer.port) if pd.notna(peer.port) else 0
        if not port and (nodes := self.nodes_at(peer)):
            port = int(self.world.ports[nodes[0]])
        full = np.full(len(locals_), 1, dtype="int64")
        number = int(peer.as_number) if pd.notna(peer.as_number) else 0
        made = self.chunk(locals_, remote, full * code, full * port, full * number, kind, place, order)
        return made | {"calico": full * bool(len(at) and address)}

    def nodes_at(self, peer: Any) -> list[int]:
        """Nodes with the address, AS and port of a BGPPeer's remote end (confd's nodesWithIPPortAndAS)."""
        world = self.world
        if not isinstance(peer.address, str) or peer.address not in self.known:
            return []
        number = int(peer.as_number) if pd.notna(peer.as_number) else int(world.configuration.as_number)
        default = world.configuration.listen_port
        found = np.flatnonzero((self.address == self.known[peer.address]) & (world.as_number == number))
        if pd.isna(peer.port):
            return [int(i) for i in found]
        # As in confd, a port of the cluster must be the same even where the node has one of its own.
        right = [i for i in found if world.ports[i] in (0, int(peer.port))]
        return [int(i) for i in right if pd.isna(default) or int(default) == int(peer.port)]

    def local_workloads(self, place: int, peer: Any, locals_: Ints, order: int) -> dict[str, Ints]:
        """Pods of each node that a localWorkloadSelector picks (Felix tells confd; source: felix/calc)."""
        rows = list(self.chosen_workloads(peer, set(locals_.tolist())))
        local = np.array([n for n, _ in rows], dtype="int64")
        address = np.array([a for _, a in rows], dtype="int64")
        full = np.full(len(local), 1, dtype="int64")
        number = int(peer.as_number) if pd.notna(peer.as_number) else 0
        return self.chunk(local, full * -1, address, full * 0, full * number, WORKLOAD, place, order)

    def chosen_workloads(self, peer: Any, locals_: set[int]) -> Iterator[tuple[int, int]]:
        pods, peering = self.world.pods, self.world.configuration.workload_peering
        if pods is None or not any((":" in a) == (self.version == 6) for a in peering):
            return
        try:
            selector = parse(peer.workload_selector)
        except SelectorError:
            return
        own = pods[~pods["host_network"] & ~pods["finished"] & pods["node"].notna()]
        for row in records(own):
            node = self.world.index.get(row.node, -1)
            seen = {**row.labels, "projectcalico.org/namespace": row.namespace, "projectcalico.org/orchestrator": "k8s"}
            if node not in locals_ or not selector.matches(seen):
                continue
            for text in (a for a in row.addresses if (":" in a) == (self.version == 6)):
                code = self.known.setdefault(text, len(self.texts))
                if code == len(self.texts):
                    self.texts.append(text)
                self.workloads[code] = f"{row.namespace}/{row.pod}"
                yield node, code

    def chunk(
        self,
        local: Ints,
        remote: Ints,
        address: Ints,
        port: Ints,
        peer_as: Ints,
        kind: int,
        resource: int = -1,
        order: int = 0,
    ) -> dict[str, Ints]:
        full = np.full(len(local), 1, dtype="int64")
        return {
            "local": local,
            "remote": remote,
            "address": address,
            "port": port,
            "peer_as": peer_as,
            "cluster": full * self.world.clusters.index(""),
            "calico": full * 0,
            "kind": full * kind,
            "resource": full * resource,
            "order": full * order,
        }

    # ---- how

    def dress(self, codes: dict[str, Ints]) -> pd.DataFrame:
        """The table of these sessions."""
        world, local = self.world, codes["local"]
        kind, resource, port = codes["kind"], codes["resource"], codes["port"]
        own_cluster = world.cluster[local]
        local_as = world.as_number[local]
        by_address = self.by_address(codes)  # a peering by selector, and the way back, lacks some fields
        override = np.where(by_address | (kind == WORKLOAD), self.numbers("local_as")[resource], 0)
        local_as = np.where(override > 0, override, local_as)
        is_rr = own_cluster != world.clusters.index("")
        client = is_rr & (kind != MESH) & (codes["peer_as"] == local_as) & (codes["cluster"] != own_cluster)
        rank = np.empty(len(self.texts), dtype="int64")  # confd compares the addresses' text, as Go does
        rank[np.argsort(np.array(self.texts, dtype=object), kind="stable")] = np.arange(len(self.texts))
        greater = rank[codes["address"]] > rank[self.address[local]]
        passive = (kind == MESH) & greater | (kind == GLOBAL) & (codes["calico"] == 1) & greater | (kind == WORKLOAD)
        ours = self.texts_of("source_address")[resource] == "UseNodeIP"
        source = np.where(ours & (kind != WORKLOAD) | (kind == MESH), self.address[local], 0)
        plain = kind != WORKLOAD  # for local workloads confd takes only filters and AS from the BGPPeer
        columns = {
            "node": category(local, world.nodes["node"].tolist()),
            "protocol": self.names(kind, codes["address"], port),
            "kind": category(kind, KINDS),
            "family": _constant(self.version, len(local)),
            "peer": self.ends(codes),
            "internal": pd.array(codes["remote"] >= 0, dtype="boolean"),
            "peer_address": category(codes["address"], self.texts),
            "peer_port": _numbers(port),
            "local_as": _numbers(local_as),
            "peer_as": pd.array(codes["peer_as"], dtype="Int64"),
            "source_address": category(np.where(source > 0, source, -1), self.texts),
            "passive": pd.array(passive, dtype="boolean"),
            "rr_client": pd.array(client, dtype="boolean"),
            "cluster_id": category(np.where(client, own_cluster, -1), world.clusters),
            "password": self.from_peer("password", resource, plain, self.world.configuration.mesh_password),
            "ttl": _numbers(np.where(plain, self.numbers("ttl")[resource], 0)),
            "next_hop": self.next_hop(resource, codes["peer_as"] != local_as, plain),
            "filters": self.from_peer("filters", resource, plain | (kind == WORKLOAD)),
            "restart_time": _numbers(self.restart_times(resource, plain)),
            "keepalive_time": _numbers(np.where(plain, self.numbers("keepalive_time")[resource], 0)),
            "allow_local_as": _numbers(np.where(by_address, self.numbers("allow_local_as")[resource], 0)),
            "reachable_by": self.from_peer("reachable_by", resource, plain),
            "why": category(np.where(resource < 0, len(world.peers), resource), self.reasons()),
            "contested": pd.array(codes["contested"] == 1, dtype="boolean"),
        }
        return EXPECTED.check(pd.DataFrame(columns, columns=pd.Index(EXPECTED.names)))

    def reasons(self) -> list[str]:
        """The resources that ask, the mesh's in the last place."""
        return [*(f"BGPPeer {p.peer}" for p in self.world.peers), MESH_WHY]

    def by_address(self, codes: dict[str, Ints]) -> NDArray[np.bool_]:
        """Forward peerings to a BGPPeer's peerIP."""
        selects = self.texts_of("peer_selector")[codes["resource"]] != ""
        return np.asarray(~selects & (codes["order"] < 2) & np.isin(codes["kind"], (GLOBAL, NODE)), dtype=bool)

    def names(self, kind: Ints, address: Ints, port: Ints) -> pd.Categorical[Any]:
        """confd's names of the sessions: KIND_ADDRESS, and _port_PORT for BGPPeers where one is known."""
        shown = np.where(kind == MESH, 0, port)
        ports = np.unique(shown)
        width = len(KINDS) * len(ports)
        combined = (address * len(KINDS) + kind) * len(ports) + np.searchsorted(ports, shown)
        used, codes = _few(combined, len(self.texts) * width)
        parts = [(c // width, c // len(ports) % len(KINDS), int(ports[c % len(ports)])) for c in used.tolist()]
        texts = [self.name(KINDS[k], self.texts[a], p) for a, k, p in parts]
        return category(codes, texts)

    @staticmethod
    def name(kind: str, address: str, port: int) -> str:
        return f"{kind}_{address.replace('.', '_').replace(':', '_')}" + (f"_port_{port}" if port else "")

    def ends(self, codes: dict[str, Ints]) -> pd.Categorical[Any]:
        """The other end's name: node, workload, or address."""
        names = self.world.nodes["node"].tolist()
        texts = [self.workloads.get(i, t) for i, t in enumerate(self.texts)]
        places = np.where(codes["remote"] >= 0, codes["remote"], len(names) + codes["address"])
        every = [*names, *texts]
        firsts = {t: i for i, t in reversed(list(enumerate(every)))}
        same = np.array([firsts[t] for t in every], dtype="int64")  # a node may be called by an address
        used, found = _few(same[places], len(every))
        return category(found, [every[i] for i in used.tolist()])

    def numbers(self, field: str) -> Ints:
        """A field of the BGPPeers as numbers, 0 for none; the last place is the mesh's."""
        values = [int(v) if pd.notna(v := getattr(p, field)) else 0 for p in self.world.peers]
        return np.array([*values, 0], dtype="int64")

    def texts_of(self, field: str) -> NDArray[Any]:
        values = [getattr(p, field) for p in self.world.peers]
        return np.array([*(v if isinstance(v, str) else "" for v in values), ""], dtype=object)

    def from_peer(self, field: str, resource: Ints, where: NDArray[np.bool_], mesh: Any = None) -> pd.Categorical[Any]:
        """A field of the BGPPeers as text; of the mesh what is given."""
        values = [getattr(p, field) for p in self.world.peers]
        texts = [", ".join(v) if isinstance(v, list) else v if isinstance(v, str) else "" for v in values]
        every = list(dict.fromkeys([*texts, mesh if isinstance(mesh, str) else ""]))
        place = np.array([every.index(t) for t in texts] + [every.index(mesh if isinstance(mesh, str) else "")])
        none = np.array([t == "" for t in every])
        codes = place[resource]
        return category(np.where(none[codes] | ~where, -1, codes), every)

    def next_hop(self, resource: Ints, other_as: NDArray[np.bool_], where: NDArray[np.bool_]) -> pd.Categorical[Any]:
        """nextHopMode, or keepOriginalNextHop, which counts for another AS only."""
        asked = self.texts_of("next_hop")[resource]
        keep = (asked == "Keep") | (asked == "keep-external") & other_as
        return category(np.where(where & keep, 0, np.where(where & (asked == "Self"), 1, -1)), ("Keep", "Self"))

    def restart_times(self, resource: Ints, where: NDArray[np.bool_]) -> Ints:
        mesh = self.world.configuration.mesh_restart_time
        found = np.append(self.numbers("restart_time")[:-1], 0 if pd.isna(mesh) else int(mesh))
        return np.where(where, found[resource], 0)


def _few(values: Ints, size: int) -> tuple[Ints, Ints]:
    """The distinct values of a long array, and each one's place among them; values are below ``size``."""
    there = np.zeros(size, dtype=bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def _numbers(values: Ints) -> Any:
    """Numbers, null for 0."""
    return pd.arrays.IntegerArray(values.astype("int64"), values == 0)


def _constant(value: int, length: int) -> Any:
    return pd.array(np.full(length, value, dtype="int64"), dtype="Int64")
