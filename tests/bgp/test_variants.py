"""Faults that no recording shows, on made clusters: each is named, at the right node, and nothing else is."""

from __future__ import annotations

import pytest

from calicokit.cluster import Cluster
from calicokit.diagnosis.model import Finding
from calicokit.evidence.model import Want
from calicokit.schema import cells
from tests.bgp.made import SS_HEAD, SS_LISTEN, Lab, bgp_peer, bird_cfg, nstat, status, syn_sent
from tests.edited import Edited
from tests.fakes import NOW, pool

RR = {"RouteReflectorClusterID": "224.0.0.1"}


def heads(lab: Lab) -> list[Finding]:
    return [f for f in lab.loud() if not f.explained_by]


def under_the_wall(lab: Lab) -> Finding:
    """The sessions that a foreign rule keeps down."""
    (found,) = (f for f in lab.loud() if f.explained_by == "foreign-drop-rule")
    assert found.id == "bgp-session-down"
    return found


def only(lab: Lab) -> Finding:
    """The one finding that no other explains."""
    found = heads(lab)
    assert [f.id for f in found] == [found[0].id], [(f.id, f.cause) for f in found]
    return found[0]


def reflectors(*names: str, size: int = 4) -> Lab:
    return Lab(
        size=size,
        nodes=dict.fromkeys(names, RR),
        labels={n: {"rr": "true"} for n in names},
        config={"nodeToNodeMeshEnabled": False},
        peers=[bgp_peer("rr", nodeSelector="all()", peerSelector="rr == 'true'")],
    )


# ---- healthy ones


@pytest.mark.parametrize(
    "lab",
    [
        Lab(),
        Lab(size=1),
        reflectors("n1", "n2"),
        Lab(peers=[bgp_peer("tor", peerIP="10.0.0.100", asNumber=65001)]),
        Lab(config={"listenPort": 178}),
        Lab(nodes={"n2": {"IPv6Address": "fd00::2/64"}, "n3": {"IPv6Address": "fd00::3/64"}}),
        Lab(config={"nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}}),
        Lab(nodes={f"n{i}": {"ASNumber": "64513"} for i in range(1, 5)}),
    ],
    ids=["mesh", "one node", "reflectors", "tor", "port", "two families", "password", "own AS"],
)
def test_silence_on_healthy_clusters(lab: Lab) -> None:
    findings = lab.cluster().check()
    assert [(f.id, f.cause) for f in findings if f.severity != "info"] == []


def test_a_vxlan_cluster_without_bird_needs_none() -> None:
    lab = Lab(pools=[pool("p", "10.48.0.0/16", vxlanMode="Always")], config={"nodeToNodeMeshEnabled": False})
    source = lab.source()
    for want in list(source.answers):
        if want.id in ("birdcl-protocols", "birdcl-status", "bird.cfg", "bird-log"):
            del source.answers[want]
    source.answers |= {
        Want(
            "bird-ready", n
        ): b"calico/node is not ready: BIRD is not ready: error querying BIRD: unable to connect to "
        b"BIRDv4 socket: dial unix /var/run/bird/bird.ctl: connect: no such file or directory\n"
        for n in lab.names
    }
    findings = Cluster(source).check()
    assert [f.id for f in findings if f.severity != "info"] == []
    assert not {"bird-dead", "bgp-session-down", "bgp-config-stale"} & set(findings.blocked)


# ---- BIRD


@pytest.mark.parametrize("how", ["no files", "refused", "no answer", "log", "probe"])
def test_a_dead_bird_is_named_and_its_sessions_hang_under_it(how: str) -> None:
    lab = Lab()
    asked = [Want("birdcl-protocols", "n3"), Want("birdcl-status", "n3")]
    if how == "no files":
        lab.kill("n3")
    elif how in ("refused", "no answer"):
        said = "Unable to connect to server control socket (/var/run/calico/bird.ctl): Connection refused"
        lab.failed |= dict.fromkeys(asked, (1, said) if how == "refused" else (124, "timed out after 120 s"))
    elif how == "log":
        lab.lose("n3", "birdcl-protocols", "birdcl-status", "ss-bgp")
        lab.say("bird-log", "n3", "bird: device1: Initializing\nbird: Shutting down\nbird: Shutdown completed\n")
    else:
        lab.lose("n3", "birdcl-protocols", "birdcl-status", "ss-bgp")
        lab.say("bird-ready", "n3", "calico/node is not ready: BIRD is not ready: Error querying BIRD: unable to "
                "connect to BIRDv4 socket: dial unix /var/run/calico/bird.ctl: connection refused")  # fmt: skip
    for other in ("n1", "n2"):
        lab.down(other, "n3", "Passive", "Received: Administrative shutdown")
    lab.down("n4", "n3", "Active", "Socket: Connection refused")
    first = only(lab)
    assert (first.id, first.subject) == ("bird-dead", {"node": "n3"})
    (effect,) = (f for f in lab.loud() if f.explained_by)
    assert effect.subject == {"node": "n3", "peers": ["n1", "n2", "n4"], "why": "peer-dead"}


def test_a_peer_within_its_hold_time_does_not_contradict_a_dead_bird() -> None:
    first = only(Lab().kill("n3"))
    assert (first.id, first.subject) == ("bird-dead", {"node": "n3"})


def test_bird_dies_where_only_vxlan_pools_are_but_bird_ran() -> None:
    lab = Lab(pools=[pool("p", "10.48.0.0/16", vxlanMode="Always")]).kill("n2")
    assert only(lab).id == "bird-dead"


def test_a_port_that_is_taken() -> None:
    lab = Lab()
    for other in ("n1", "n3", "n4"):
        lab.state("n2", other, "down   11:30:00                  Error: No listening socket")
        lab.down(other, "n2", "Connect" if other != "n1" else "Passive")
    lab.say("ss-bgp", "n2", SS_HEAD + SS_LISTEN.replace('"bird"', '"gobgpd"'))
    lab.say("bird-log", "n2", "bird: device1: Initializing\nbird: BGP: Socket error: bind: Address already in use\n"
            "bird: BGP: Cannot open listening socket\n")  # fmt: skip
    first = only(lab)
    assert first.id == "bgp-session-down"
    assert first.subject == {"node": "n2", "peers": ["n1", "n3", "n4"], "why": "port-in-use"}


# ---- configuration


def test_mesh_off_and_nothing_instead() -> None:
    first = only(Lab(config={"nodeToNodeMeshEnabled": False}))
    assert (first.id, first.subject) == ("bgp-no-peers", {"nodes": ["n1", "n2", "n3", "n4"]})


def test_only_the_nodes_that_nothing_selects_have_no_peers() -> None:
    lab = reflectors("n1", "n2")
    lab.peers[0]["spec"]["nodeSelector"] = "!has(forgotten)"
    lab.labels["n4"] = {"forgotten": "yes"}
    first = only(lab)
    assert (first.id, first.subject) == ("bgp-no-peers", {"nodes": ["n4"]})


def test_one_route_reflector_is_a_warning() -> None:
    first = only(reflectors("n2"))
    assert (first.id, first.severity, first.subject) == ("rr-not-redundant", "warning", {"nodes": ["n2"]})


def test_confd_that_ended_is_a_warning_until_something_differs() -> None:
    ended = "2026-03-01 11:00:00.000 [INFO][9] confd/run.go 112: Context cancelled, shutting down\n"
    first = only(Lab().say("confd-log", "n2", ended))
    assert (first.id, first.severity, first.subject) == ("bgp-config-stale", "warning", {"node": "n2"})


def test_confd_of_old_versions_ends_in_other_words() -> None:
    ended = "2026-03-01 11:00:00.000 [INFO][9] confd/run.go 57: Captured terminated. Exiting...\n"
    assert only(Lab().say("confd-log", "n2", ended)).id == "bgp-config-stale"


def test_confd_that_came_back_is_fine() -> None:
    lines = "2026-03-01 11:00:00.000 [INFO][9] confd/run.go 112: Context cancelled, shutting down\n"
    lines += "2026-03-01 11:00:05.000 [INFO][19] confd/run.go 60: Starting calico-confd\n"
    assert heads(Lab().say("confd-log", "n2", lines)) == []


def test_bird_refuses_what_confd_writes() -> None:
    line = '2026-03-01 11:00:00.000 [ERROR][9] confd/resource.go 321: Error from checkcmd "bird -p -c /x": "no"\n'
    first = only(Lab().say("confd-log", "n2", line))
    assert (first.id, first.severity) == ("bgp-config-stale", "warning")


def test_a_session_that_bird_does_not_have_is_a_stale_configuration() -> None:
    """confd was killed before n4 joined: n2 has no session to it, and n4 waits for n2."""
    lab = Lab()
    own = lab.expected()
    short = own[(own["node"] == "n2") & (own["peer"] != "n4")]
    lab.say("bird.cfg", "n2", bird_cfg(short, own)).state("n2", "n4", "").down("n4", "n2", "Connect")
    first = only(lab)
    assert (first.id, first.severity, first.subject) == ("bgp-config-stale", "critical", {"node": "n2"})
    (effect,) = (f for f in lab.loud() if f.explained_by)
    assert effect.subject == {"node": "n2", "peers": ["n4"], "why": "unknown"}


def test_a_filter_written_by_hand_is_told() -> None:
    lab = Lab()
    own = lab.expected()
    text = bird_cfg(own[own["node"] == "n3"], own).replace("import all;", "import none;", 1)
    first = only(lab.say("bird.cfg", "n3", text))
    assert (first.id, first.subject) == ("bgp-config-stale", {"node": "n3"})
    assert "import_filter" in first.cause


# ---- what the ends disagree on


def test_a_node_with_an_as_of_its_own_that_go_gets_wrong() -> None:
    """Since v3.32 confd gives a mesh peer without an AS our own: the ends disagree by Calico's own doing."""
    lab = Lab(nodes={"n3": {"ASNumber": "65003"}})
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Idle", "BGP Error: Bad peer AS")
        lab.down(other, "n3", "Active", "Received: Bad peer AS")
    first = only(lab)
    assert (first.id, first.subject) == ("bgp-as-mismatch", {"peer": "n3", "nodes": ["n1", "n2", "n4"]})


def test_a_wrong_as_at_a_router_shows_in_the_log_alone() -> None:
    lab = Lab(peers=[bgp_peer("tor", peerIP="10.0.0.100", asNumber=65001)])
    log = "bird: Global_10_0_0_100: Error: Bad peer AS: 65009\nbird: Global_10_0_0_100: Connection closed\n"
    for name in lab.names:
        lab.down(name, "10.0.0.100", "Active", "Socket: Connection closed").say("bird-log", name, log)
    first = only(lab)
    assert (first.id, first.subject) == ("bgp-as-mismatch", {"peer": "10.0.0.100", "nodes": lab.names})
    assert "65009" in first.cause


def test_a_mesh_password_that_one_node_has_otherwise() -> None:
    lab = Lab(config={"nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}})
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Connect" if other != "n4" else "Passive").say("nstat", other, nstat(wrong=40))
        lab.down(other, "n3", "Passive" if other != "n4" else "Connect")
    lab.say("nstat", "n3", nstat(wrong=80))
    found = heads(lab)
    assert {f.id for f in found} == {"bgp-password-mismatch"}
    assert [f.subject for f in found] == [{"node": "n3", "peer": p} for p in ("n1", "n2", "n4")]
    effects = [f for f in lab.loud() if f.explained_by]
    assert [(f.id, f.subject["why"]) for f in effects] == [("bgp-session-down", "md5")]


def test_a_password_that_only_a_router_has() -> None:
    lab = Lab(peers=[bgp_peer("tor", peerIP="10.0.0.100", asNumber=65001, node="n2")])
    lab.down("n2", "10.0.0.100", "Connect").say("nstat", "n2", nstat(unexpected=12))
    first = only(lab)
    assert (first.id, first.subject) == ("bgp-password-mismatch", {"node": "n2", "peer": "10.0.0.100"})


def test_counters_of_an_old_rollout_accuse_nobody() -> None:
    lab = Lab(config={"nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}})
    assert heads(lab.say("nstat", "n3", nstat(wrong=7))) == []


# ---- sessions


def test_one_pair_that_a_rule_separates() -> None:
    lab = Lab().down("n2", "n1", "Connect").down("n1", "n2", "Passive")
    lab.say("ss-bgp", "n2", SS_HEAD + SS_LISTEN + syn_sent("10.0.0.2", "10.0.0.1"))
    lab.say("iptables-save", "n2", "*filter\n:OUTPUT ACCEPT [0:0]\n[9:540] -A OUTPUT -d 10.0.0.1/32 -p tcp -m tcp "
            "--dport 179 -j DROP\nCOMMIT\n")  # fmt: skip
    assert only(lab).subject == {"node": "n2", "table": "filter", "chain": "OUTPUT"}
    first = under_the_wall(lab)
    assert first.subject == {"node": "n2", "peers": ["n1"], "why": "tcp-179-blocked"}
    assert "--dport 179" in first.cause


def test_unanswered_connections_between_living_birds_are_blocked_even_if_no_rule_is_seen() -> None:
    lab = Lab()
    for other in ("n1", "n3", "n4"):
        lab.down("n2", other, "Connect" if other == "n1" else "Passive")
        lab.down(other, "n2", "Passive" if other == "n1" else "Connect")
    first = only(lab)
    assert first.subject == {"node": "n2", "peers": ["n1", "n3", "n4"], "why": "tcp-179-blocked"}


def test_rejecting_rules_are_blocks_too() -> None:
    lab = Lab().down("n2", "n1", "Active", "Socket: Connection refused").down("n1", "n2", "Passive")
    lab.say("iptables-save", "n1", "*filter\n:INPUT ACCEPT [0:0]\n[9:540] -A INPUT -p tcp -m tcp --dport 179 -j REJECT "
            "--reject-with icmp-port-unreachable\nCOMMIT\n")  # fmt: skip
    assert only(lab).id == "foreign-drop-rule"
    assert under_the_wall(lab).subject == {"node": "n1", "peers": ["n2"], "why": "tcp-179-blocked"}


def test_refused_by_nobody_knows_what() -> None:
    lab = Lab().down("n2", "n1", "Active", "Socket: Connection refused").down("n1", "n2", "Passive")
    assert only(lab).subject["why"] == "connection-refused"


def test_a_lossy_node() -> None:
    lab = Lab()
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Connect", "BGP Error: Hold timer expired")
        lab.down(other, "n3", "Passive", "Received: Hold timer expired")
    assert only(lab).subject == {"node": "n3", "peers": ["n1", "n2", "n4"], "why": "hold-timer-expired"}


def test_no_route() -> None:
    lab = Lab(size=2).down("n2", "n1", "Active", "Socket: No route to host").down("n1", "n2", "Passive")
    assert only(lab).subject["why"] == "no-route"


def test_an_address_that_is_on_no_interface_is_told() -> None:
    lab = Lab()
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Connect").down(other, "n3", "Connect")
    lab.say("ip-addr", "n3", "2: eth0: <UP> mtu 1500 qdisc noqueue state UP group default \n"
            "    inet 192.168.9.3/24 scope global eth0\n       valid_lft forever preferred_lft forever\n")  # fmt: skip
    first = only(lab)
    assert (first.id, first.subject) == ("node-address-wrong", {"node": "n3", "address": "10.0.0.3"})
    (effect,) = (f for f in lab.loud() if f.explained_by)
    assert effect.subject == {"node": "n3", "peers": ["n1", "n2", "n4"], "why": "unknown"}
    assert "not reachable for its peers" in effect.cause


def test_an_address_of_another_network_than_the_node_s_is_told() -> None:
    """Autodetection took a second interface: the address is the node's, but nobody gets there."""
    lab = Lab(nodes={"n3": {"IPv4Address": "192.168.9.3/24"}})
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Connect").down(other, "n3", "Passive")
    first = only(lab)
    assert first.subject == {"node": "n3", "peers": ["n1", "n2", "n4"], "why": "unknown"}
    assert "not reachable for its peers" in first.cause


def test_another_network_for_bgp_than_kubernetes_is_no_fault_by_itself() -> None:
    lab = Lab(nodes={f"n{i}": {"IPv4Address": f"192.168.9.{i}/24"} for i in range(1, 5)})
    assert heads(lab) == []
    lab = Lab(nodes={"n3": {"IPv4Address": "192.168.9.3/24"}})
    assert heads(lab) == []


def test_a_password_edited_by_hand_hangs_under_the_confd_that_was_stopped() -> None:
    lab = Lab(config={"nodeMeshPassword": {"secretKeyRef": {"name": "bgp", "key": "mesh"}}})
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Connect").down(other, "n3", "Passive").say("nstat", other, nstat(wrong=40))
    lab.say("confd-log", "n3", "2026-03-01 11:00:00.000 [INFO][9] confd/run.go 112: Context cancelled, shutting down\n")
    first = only(lab)
    assert (first.id, first.severity, first.subject) == ("bgp-config-stale", "critical", {"node": "n3"})
    assert {f.id for f in lab.loud() if f.explained_by} == {"bgp-password-mismatch", "bgp-session-down"}


def test_a_node_that_did_not_answer_is_not_called_dead() -> None:
    lab = Lab()
    for id_ in ("birdcl-protocols", "birdcl-status", "bird.cfg", "bird-log", "ss-bgp", "nstat", "iptables-save"):
        lab.lose("n3", id_)
    assert heads(lab) == []
    for other in ("n1", "n2", "n4"):
        lab.down(other, "n3", "Connect")
    lab.texts = {w: t for w, t in lab.texts.items() if w.id != "birdcl-protocols"}
    assert only(lab).subject == {"node": "n3", "peers": ["n1", "n2", "n4"], "why": "unknown"}


def test_sessions_of_a_bird_that_just_started_are_given_time() -> None:
    lab = Lab().say("birdcl-status", "n3", status("10.0.0.3", "2026-03-01 11:59:50"))
    for other in ("n1", "n2", "n4"):
        lab.down("n3", other, "Active").down(other, "n3", "Passive")
    assert heads(lab) == []
    assert set(lab.cluster().table("bgp.compared")["status"].astype("str")) == {"up", "starting"}


def test_two_faults_are_two_findings() -> None:
    lab = Lab(size=6).kill("n6")
    for other in ("n2", "n3", "n4", "n5"):
        lab.down("n1", other, "Passive").down(other, "n1", "Connect")
    wall = "*filter\n:INPUT ACCEPT [0:0]\n[1:60] -A INPUT -p tcp -m tcp --dport 179 -j DROP\nCOMMIT\n"
    lab.say("iptables-save", "n1", wall)
    found = [(f.id, f.subject["node"]) for f in heads(lab)]
    assert sorted(found) == [("bird-dead", "n6"), ("foreign-drop-rule", "n1")]
    assert under_the_wall(lab).subject["node"] == "n1"


def test_a_router_outside_that_is_down() -> None:
    lab = Lab(peers=[bgp_peer("tor", peerIP="10.0.0.100", asNumber=65001)])
    for name in lab.names:
        lab.down(name, "10.0.0.100", "Active", "Socket: Connection refused")
    first = only(lab)
    assert (first.id, first.severity) == ("bgp-external-peer-down", "warning")
    assert first.subject == {"peer": "10.0.0.100", "nodes": lab.names}


FLAP = (
    "bird: {p}: Error: Hold timer expired\nbird: {p}: BGP session closed\nbird: {p}: State changed to stop\n"
    "bird: {p}: Down\nbird: {p}: State changed to down\nbird: {p}: State changed to start\n"
    "bird: {p}: Connected to table master\nbird: {p}: State changed to feed\nbird: {p}: State changed to up\n"
)
CAME_UP = "bird: {p}: State changed to start\nbird: {p}: State changed to feed\nbird: {p}: State changed to up\n"


def test_flapping_stands_under_the_node_that_closes() -> None:
    lab = Lab()
    mesh = {n: f"Mesh_10_0_0_{n[1:]}" for n in lab.names}
    lab.say("bird-log", "n2", "".join((CAME_UP + FLAP * 3).format(p=mesh[o]) for o in ("n1", "n3", "n4")))
    for other in ("n1", "n3", "n4"):
        lab.say("bird-log", other, (CAME_UP + FLAP * 3).replace("Error: Hold", "Received: Hold").format(p=mesh["n2"]))
    first = only(lab)
    assert (first.id, first.severity) == ("bgp-session-flapping", "warning")
    assert first.subject == {"node": "n2", "peers": ["n1", "n3", "n4"]}


def test_two_returns_collisions_and_refeeds_are_no_flapping() -> None:
    refeed = (
        "bird: {p}: Reconfigured\nbird: Reloading protocol {p}\nbird: {p}: State changed to feed\nbird: {p}: State "
    )
    refeed += "changed to up\n"
    text = (CAME_UP + FLAP * 2 + refeed * 9).format(p="Mesh_10_0_0_1")
    assert heads(Lab().say("bird-log", "n2", text)) == []


def test_a_bird_that_was_started_anew_has_sessions_that_begin_not_flap() -> None:
    text = ("bird: device1: Initializing\n" + CAME_UP.format(p="Mesh_10_0_0_1")) * 5
    assert heads(Lab().say("bird-log", "n2", text)) == []


def test_retries_of_a_session_that_never_came_up_are_no_flapping() -> None:
    lab = Lab().down("n2", "n1", "Idle", "BGP Error: Bad peer AS").down("n1", "n2", "Active", "Received: Bad peer AS")
    retry = "bird: {p}: Error: Bad peer AS: 64999\nbird: {p}: State changed to stop\nbird: {p}: State changed to down\n"
    lab.say("bird-log", "n2", (retry + "bird: {p}: State changed to start\n").format(p="Mesh_10_0_0_1") * 9)
    assert {f.id for f in heads(lab)} == {"bgp-as-mismatch"}


# ---- other sources


def test_ipv6_sessions_that_nothing_shows_are_unknown_and_no_fault() -> None:
    lab = Lab(nodes={n: {"IPv6Address": f"fd00::{n[1:]}/64"} for n in ("n1", "n2", "n3", "n4")})
    assert heads(lab) == []
    table = lab.cluster().table("bgp.compared")
    assert set(table[table["family"] == 6]["status"].astype("str")) == {"unknown"}


def test_node_statuses_are_read_where_birdcl_is_missing() -> None:
    lab = Lab()
    for name in lab.names:
        lab.lose(name, "birdcl-protocols", "birdcl-status")
    lab.lists["caliconodestatuses"] = [
        {
            "metadata": {"name": n},
            "spec": {"node": n},
            "status": {
                "lastUpdated": NOW.isoformat(),
                "bgp": {
                    "peersV4": [
                        {
                            "peerIP": lab.address(o),
                            "type": "nodeMesh",
                            "state": "Connect" if "n3" in (n, o) else "Established",
                            "since": "11:00:00",
                        }
                        for o in lab.names
                        if o != n
                    ]
                },
            },
        }
        for n in lab.names
    ]
    first = only(lab)
    assert (first.id, first.subject["node"], first.subject["peers"]) == ("bgp-session-down", "n3", ["n1", "n2", "n4"])
    assert {r.id for r in first.evidence} >= {"caliconodestatuses"}


def test_logs_alone_tell_what_they_can() -> None:
    """As in a support bundle: no birdcl, no sockets; BIRD on n3 shut down."""
    lab = Lab()
    for name in lab.names:
        lab.lose(name, "birdcl-protocols", "birdcl-status", "bird.cfg", "ss-bgp", "nstat", "iptables-save")
        log = "bird: device1: Initializing\n"
        log += "".join(CAME_UP.format(p=f"Mesh_10_0_0_{o[1:]}") for o in lab.names if o != name)
        if name == "n3":
            log += "bird: Shutting down\nbird: Shutdown completed\n"
        else:
            log += "bird: {p}: Received: Administrative shutdown\nbird: {p}: State changed to stop\nbird: {p}: State "
            log = log.replace("{p}", "Mesh_10_0_0_3") + "changed to down\nbird: Mesh_10_0_0_3: State changed to start\n"
        lab.say("bird-log", name, log)
    first = only(lab)
    assert (first.id, first.subject) == ("bird-dead", {"node": "n3"})
    table = lab.cluster().table("bgp.compared")
    others = table[(table["node"] != "n3") & (table["peer"] != "n3")]
    assert set(others["status"].astype("str")) == {"up"}


def test_a_log_that_has_no_word_of_a_session_leaves_it_unknown() -> None:
    lab = Lab()
    for name in lab.names:
        lab.lose(name, "birdcl-protocols", "birdcl-status", "bird.cfg", "ss-bgp", "nstat", "iptables-save")
        lab.say("bird-log", name, "bird: Mesh_10_0_0_9 > added [best] 10.48.0.0/26 via 10.0.0.9 on eth0\n")
    assert heads(lab) == []
    assert set(lab.cluster().table("bgp.compared")["status"].astype("str")) == {"unknown"}


def test_a_dead_bird_is_told_though_the_resources_are_not_known() -> None:
    lab = Lab().say("bird-log", "n2", "bird: device1: Initializing\nbird: Shutdown completed\n")
    lab.lose("n2", "birdcl-protocols", "birdcl-status", "ss-bgp")
    source = lab.source()
    for id_ in ("ippools", "bgppeers", "bgpconfigurations"):
        del source.answers[Want(id_)]
    findings = Cluster(source).check()
    assert [f.id for f in findings if f.severity != "info"] == ["bird-dead"]
    assert "bgp-session-down" in findings.blocked


SIX = """IPv6 BGP status
+--------------+-------------------+-------+----------+-------------+
| PEER ADDRESS | PEER TYPE         | STATE | SINCE    | INFO        |
+--------------+-------------------+-------+----------+-------------+
| fd77::1      | node-to-node mesh | start | 00:46:01 | Connect     |
| fd77::3      | node-to-node mesh | up    | 00:46:02 | Established |
+--------------+-------------------+-------+----------+-------------+
"""


def test_what_birdcl_does_not_tell_of_ipv6_calicoctl_does() -> None:
    """A source that tells of one family says nothing of the other (recording dual-stack-bgp6-blocked)."""

    def six(text: str) -> str:
        return text.replace("INFO: BIRDv6 process: 'bird6' is not running.\n", SIX)

    sessions = Edited("healthy-bgp-mesh").edit("calicoctl-node-status", "node-2", six).cluster().bgp.sessions()
    mine = sessions[sessions["node"] == "node-2"]
    told = {(f, p, s) for f, p, s in cells(mine, "family", "peer_address", "source")}
    assert {(6, "fd77::1", "calicoctl"), (6, "fd77::3", "calicoctl")} <= told
    assert {s for f, _, s in told if f == 4} == {"birdcl"}
