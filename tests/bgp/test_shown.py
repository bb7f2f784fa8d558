"""What is shown of BGP: links and ends, timeline, the guide's steps, sentences and pictures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from calicokit.bgp import figures, sentences
from calicokit.bgp.sentences import meaning
from calicokit.bgp.sessions import since
from tests import recordings
from tests.bgp.made import Lab, bgp_peer
from tests.clusters import opened
from tests.examples import first

NOW = pd.Timestamp("2026-01-02T00:10:00Z")


@pytest.mark.slow
@pytest.mark.parametrize("name", recordings.names())
def test_links_count_each_direction_once(name: str) -> None:
    cluster = opened(name)
    compared, links, ends = (cluster.table(f"bgp.{n}") for n in ("compared", "links", "ends"))
    assert links["sessions"].sum() == len(compared)
    assert links["up"].sum() == (compared["status"] == "up").sum()
    assert not links.duplicated(["a", "b"]).any()
    nodes = ends[ends["role"].isin(["node", "reflector"])]
    assert nodes["sessions"].sum() == len(compared)


def test_a_link_is_as_bad_as_its_worse_end() -> None:
    links = opened("bgp-tcp179-blocked").table("bgp.links")
    bad = links[links["status"] == "down"]
    assert set(zip(bad["a"], bad["b"], strict=True)) == {
        ("node-1", "node-3"),
        ("node-2", "node-3"),
        ("node-3", "node-4"),
    }
    assert set(bad["cause"]) == {"tcp-179-blocked"}
    first = bad.iloc[0]
    assert (first["a_says"], first["b_says"]) == ("Established", "Connect")


def test_a_session_that_bird_does_not_have_is_missing_and_dashed() -> None:
    lab = Lab(size=3).state("n2", "n3", "").down("n3", "n2", "Connect")
    cluster = lab.cluster()
    links = cluster.table("bgp.links")
    assert links[links["status"] == "missing"][["a", "b"]].astype("str").values.tolist() == [["n2", "n3"]]
    drawn = figures.topology(links, cluster.table("bgp.ends"))
    (line,) = (t for t in drawn.data if t.mode == "lines" and "missing" in (t.name or ""))
    assert line.line.dash == "dash"


def test_states_look_different_without_colour() -> None:
    looks = {(look.dash, look.width) for look in figures.LOOKS.values()}
    assert len(looks) == len(figures.LOOKS)


@pytest.mark.parametrize("size", first(4, [1, 2, 12, 13, 61]))
def test_a_topology_of_any_size_can_be_drawn(size: int) -> None:
    lab = Lab(size=size, peers=[bgp_peer("tor", peerIP="10.9.0.1", asNumber=65001)])
    cluster = lab.cluster()
    drawn = figures.topology(cluster.table("bgp.links"), cluster.table("bgp.ends"))
    pairs = size * (size - 1) // 2 + size
    assert f"{pairs:,} pair" in drawn.fact
    assert drawn.to_json()


def test_text_of_a_cluster_is_text_in_a_picture() -> None:
    ends = Lab(size=2).cluster().table("bgp.ends")
    links = Lab(size=2).cluster().table("bgp.links")
    evil = "<b>n1</b><script>"
    drawn = figures.topology(
        links.assign(a=links["a"].astype("str").replace("n1", evil), a_says=evil), ends.replace("n1", evil)
    ).to_json()
    assert "<script>" not in drawn.replace("\\u003c", "<").replace("\\u003e", ">")


def test_nothing_to_draw_is_said() -> None:
    cluster = opened("healthy-vxlan-typha")
    assert "no BGP session" in figures.topology(cluster.table("bgp.links"), cluster.table("bgp.ends")).fact
    assert "not known" in sentences.log(cluster.table("bgp.session_log")) or "no line about" in sentences.log(
        cluster.table("bgp.session_log")
    )
    assert "not in use" in sentences.use(cluster.table("bgp.use"))


def test_the_timeline_takes_times_of_a_log_that_has_them() -> None:
    at = "2026-03-01 {t} <INFO> Mesh_10_0_0_1: {m}\n"
    log = "".join(
        at.format(t=t, m=m)
        for t, m in (
            ("10:00:00", "State changed to up"),
            ("10:30:00", "Error: Hold timer expired"),
            ("10:30:00", "State changed to down"),
            ("11:00:00", "State changed to up"),
        )
    )
    cluster = Lab(size=2).say("bird-log", "n2", log).cluster()
    spans = cluster.table("bgp.timeline")
    mine = spans[(spans["node"] == "n2") & (spans["source"] == "log")]
    told = [(s, f"{a:%H:%M}", f"{e:%H:%M}") for s, a, e in zip(mine["state"], mine["start"], mine["end"], strict=True)]
    assert told == [("up", "10:00", "10:30"), ("down", "10:30", "11:00")]
    assert figures.timeline(spans).to_json()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("00:05:00", "2026-01-02 00:05:00+00:00"),
        ("23:50:00", "2026-01-01 23:50:00+00:00"),
        ("2025-12-30", "2025-12-30 00:00:00+00:00"),
        ("30-12-2025", "2025-12-30 00:00:00+00:00"),
        ("some day", "NaT"),
    ],
)
def test_since_is_a_time(text: str, told: str) -> None:
    assert str(since(text, NOW)) == told


def test_since_without_a_clock_is_not_known() -> None:
    assert pd.isna(since("00:05:00", None))


@pytest.mark.parametrize("name", [n for n in recordings.names() if n.startswith("bgp-")])
def test_every_state_and_error_of_the_recordings_has_a_meaning(name: str) -> None:
    sessions = opened(name).table("bgp.sessions")
    assert sessions["means"].notna().all()
    assert sessions[~sessions["up"] & sessions["last_error"].notna()]["next"].notna().any()


def test_an_old_error_of_a_session_that_is_up_means_nothing() -> None:
    assert meaning("Established", "Received: Administrative reset").means == "The session is up."


@pytest.mark.parametrize(
    ("name", "wrong", "known"),
    [
        ("bgp-tcp179-blocked", {2, 4, 5, 6}, "tcp-179-blocked"),
        ("bgp-as-mismatch", {2, 4, 6}, "as-mismatch"),
        ("healthy-bgp-mesh", set(), "nothing is wrong"),
    ],
)
def test_the_guide_s_steps_carry_what_is_known(name: str, wrong: set[int], known: str) -> None:
    steps = opened(name).table("bgp.steps")
    first = steps.head(6)
    assert first["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert set(first[first["verdict"] == "wrong"]["step"]) == wrong
    assert known in first["known"].iloc[-1]
    lengths = first["known"].str.len().tolist()
    assert not wrong or lengths == sorted(lengths) or lengths[0] > lengths[1]


@pytest.mark.parametrize("name", ["bgp-tcp179-blocked", "bgp-as-mismatch"])
def test_the_guide_s_steps_give_commands_to_paste(name: str) -> None:
    cluster = opened(name)
    steps, pods = cluster.table("bgp.steps"), cluster.health.pods(where="component=calico-node")
    named = {f"-n {p.namespace} {p.pod} " for p in pods.itertuples()}
    in_pods = steps[steps["step"].isin([3, 5, 6])]["command"]
    assert all(any(n in f"{c} " for n in named) for c in in_pods)
    assert not steps["command"].str.contains(r"\b(?:PEER|NAME|NAMESPACE|POD)\b").any()
    tried = steps[steps["step"] == 5]["command"].str.extract(r"/dev/tcp/([\d.]+)/179")[0]
    assert set(tried) <= set(cluster.bgp.compared()["peer_address"])


def test_a_step_is_not_fine_where_an_end_has_no_routes() -> None:
    steps = opened("bgp-tcp179-blocked").table("bgp.steps")
    routes = steps[(steps["step"] == 4) & steps["answer"].str.contains("imports 0")]
    assert len(routes)
    assert "fine" not in set(routes["verdict"])


SENTENCES: list[tuple[Any, tuple[str, ...]]] = [
    (sentences.use, ("use",)),
    (sentences.configuration, ("configuration", "peers", "nodes")),
    (sentences.expected, ("expected",)),
    (sentences.compared, ("compared",)),
    (sentences.birds, ("birds",)),
    (sentences.differences, ("config_differences", "birds")),
    (sentences.reflectors, ("expected",)),
    (sentences.log, ("session_log",)),
    (sentences.path, ("steps",)),
]


@pytest.mark.parametrize("name", ["healthy-route-reflectors", "healthy-vxlan-typha", "bgp-config-edited"])
@pytest.mark.parametrize(("tell", "tables"), SENTENCES, ids=[t[0].__name__ for t in SENTENCES])
def test_every_sentence_is_one_on_every_kind_of_cluster(name: str, tell: Any, tables: tuple[str, ...]) -> None:
    cluster = opened(name)
    said = str(tell(*(cluster.table(f"bgp.{t}") for t in tables)))
    assert said.endswith(".")
    assert not any(bad in said for bad in ("nan", "NaT", "<NA>", "None ", "0 of them"))


def test_sentences_say_what_is_the_case() -> None:
    cluster = opened("bgp-config-edited")
    assert "line 54) has local_as 64999" in sentences.differences(
        cluster.table("bgp.config_differences"), cluster.table("bgp.birds")
    )
    assert "single point" in sentences.reflectors(
        Lab(
            size=3,
            nodes={"n1": {"RouteReflectorClusterID": "1.1.1.1"}},
            labels={"n1": {"rr": "true"}},
            config={"nodeToNodeMeshEnabled": False},
            peers=[bgp_peer("rr", nodeSelector="all()", peerSelector="rr == 'true'")],
        ).expected()
    )
