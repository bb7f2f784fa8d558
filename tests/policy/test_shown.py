"""What people see of policy: the command, sentences, figures; hostile text of a cluster stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import calicokit
from calicokit.cli import app as command
from calicokit.evidence.model import Missing, SourceError
from calicokit.policy import figures, sentences
from calicokit.policy.reachability import question
from calicokit.policy.what_if import objects_in
from calicokit.schema import Table
from tests import clusters, recordings
from tests.policy.made import app, cluster, explainer, gnp, knp

SENTENCES: dict[Any, tuple[str, ...]] = {
    sentences.order: ("policy.tiers", "policy.policies"),
    sentences.endpoints: ("policy.endpoints", "policy.applied"),
    sentences.reachability: ("policy.classes", "policy.reachability"),
    sentences.without_effect: ("policy.idle_selectors", "policy.shadowed"),
    sentences.staged: ("policy.staged_effects",),
    sentences.dns: ("policy.dns",),
    sentences.hosts: ("policy.host_access",),
}
DENY = {"action": "Deny"}


@pytest.mark.parametrize("name", recordings.names())
def test_every_incident_gets_every_sentence(name: str) -> None:
    opened = clusters.opened(name)
    for tell, tables in SENTENCES.items():
        text = str(tell(*map(opened.table, tables)))
        assert text.endswith("."), tell
        assert not re.search(r"\bnan\b|<NA>|\bNone\b|\b1 (pods|policies|pairs)\b", text), text


@pytest.mark.parametrize("tell", SENTENCES)
def test_of_an_unknown_table_the_sentence_says_why(tell: Any) -> None:
    hole = Table(unknown=(Missing("pods", "refused"),))
    assert str(tell(*[hole] * len(SENTENCES[tell]))) == "Unknown, not empty: pods: refused."


def test_sentences_say_the_fact() -> None:
    opened = clusters.opened("policy-drop")
    said = sentences.reachability(opened.policy.classes(), opened.policy.reachability())
    assert said == "Of 100 pairs of pod classes, 25 are fully allowed, 18 for some ports and 57 not at all."
    assert str(sentences.staged(opened.policy.staged_effects())).startswith(
        "default.staged-deny-all would drop traffic of 36 "
    )
    slip = cluster(globalnetworkpolicies=[gnp("default.x", selector="app == 'dbb'", types=["Ingress"])])
    told = str(sentences.without_effect(slip.policy.idle_selectors(), slip.policy.shadowed()))
    assert told == "Default.x looks like a typo: its selector matches nothing, and with dbb → db it would match a/db-1."


@pytest.mark.parametrize(
    ("src", "dst", "said"),
    [
        (
            "a/web-1",
            "a/db-1",
            "a/web-1 reaches a/db-1 port 80 (tcp): no policy applies to its ingress, and profile kns.a allows it.",
        ),
        (
            "b/web-1",
            "a/web-1",
            "b/web-1 does not reach a/web-1 port 80 (tcp): rule 0 of GlobalNetworkPolicy default.x "
            "(tier default) denies its ingress.",
        ),
        (
            "a/api-1",
            "b/web-1",
            "a/api-1 does not reach b/web-1 port 80 (tcp): no rule matched its ingress by the end of tier default.",
        ),
    ],
)
def test_the_answer_in_words(src: str, dst: str, said: str) -> None:
    policies = [
        gnp("default.x", selector="app == 'web'", namespaceSelector="env == 'prod'", types=["Ingress"], ingress=[DENY])
    ]
    found = explainer(globalnetworkpolicies=policies, kubernetes_networkpolicies=[knp("b/closed")])
    assert found.explain(src, dst, 80).sentence == said


# ---- figures


def test_the_ladder_lights_the_rung_that_decides() -> None:
    opened = clusters.opened("policy-drop")
    answer = opened.explain(*question(opened))
    drawn = figures.ladder(answer)
    lit = [a.text for a in drawn.layout.annotations if a.text.startswith("<b>")]
    assert len(lit) == 1
    assert "end of tier default" in lit[0]
    assert drawn.fact.startswith(answer.sentence[:60])
    assert len(drawn.layout.annotations) == len(answer.steps)


def test_the_ladder_of_what_has_no_steps_is_a_sentence() -> None:
    answer = explainer().explain("a/none", "a/db-1", 80)
    assert figures.ladder(answer).fact.replace(" ", "") == answer.sentence.replace(" ", "")


def test_the_heat_map_holds_every_pair() -> None:
    opened = clusters.opened("policy-drop")
    drawn = figures.reachability(opened.policy.classes(), opened.policy.reachability())
    heat = drawn.data[0]
    values = [v for line in heat.z for v in line]
    assert (values.count(2), values.count(1), values.count(0)) == (25, 18, 57)
    row = list(heat.y).index("shop/frontend")
    assert heat.hovertext[row][list(heat.x).index("shop/payments")].endswith("TCP 8443")
    unknown = cluster(pods=None).policy
    assert "not listed" in figures.reachability(unknown.classes(), unknown.reachability()).fact


def test_text_of_a_cluster_is_no_markup() -> None:
    evil = "<i>x<i>"
    policies = [gnp(f"default.{evil}", selector="all()", types=["Ingress"], ingress=[DENY])]
    opened = cluster(
        globalnetworkpolicies=policies, pods=[app(f"a/{evil}-1", "n1", "10.0.1.1"), app("a/db-1", "n2", "10.0.2.1")]
    )
    answer = opened.explain(f"a/{evil}-1", "a/db-1", 80)
    shown = json.dumps(figures.ladder(answer).to_plotly_json(), default=str)
    assert evil not in shown
    assert evil not in answer._repr_html_()
    heat = figures.reachability(opened.policy.classes(), opened.policy.reachability())
    assert evil not in json.dumps(heat.to_plotly_json(), default=str)


# ---- the command

RUN = CliRunner()


def asked(*words_: str) -> Any:
    return RUN.invoke(command, ["explain", "policy-drop", *words_])


def test_explain_as_the_contract_says() -> None:
    opened = clusters.opened("policy-drop")
    src, dst, port = question(opened)
    done = asked("--from", src, "--to", dst, "--port", str(port), "--format", "json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert set(found) == {"verdict", "decided_by", "flows", "steps", "unknown", "sentence"}
    assert found["decided_by"] == {
        "action": "deny",
        "direction": "egress",
        "tier": "default",
        "kind": "Tier",
        "name": "default",
        "rule": "end-of-tier",
    }
    (flow,) = found["flows"]
    assert set(flow) == {"src", "dst", "port", "egress", "ingress"}
    assert [s["direction"] for s in found["steps"]] == sorted(s["direction"] for s in found["steps"])
    table = asked("--from", src, "--to", dst, "--port", str(port))
    assert table.exit_code == 0
    assert table.stdout.startswith("deny")


def test_a_batch_is_answered_in_its_order(tmp_path: Path) -> None:
    probes = json.loads(recordings.read("policy-drop", "probes.json"))[:20]
    questions = [{k: p[k] for k in ("src", "dst", "proto", "port")} for p in probes]
    questions += [{"src": "a/b"}, 7, {"src": questions[0]["src"], "dst": questions[0]["dst"], "port": 80}]
    file = tmp_path / "q.json"
    file.write_text(json.dumps(questions))
    answers = json.loads(asked("--batch", str(file), "--format", "json").stdout)
    assert len(answers) == len(questions)
    assert [a["verdict"] for a in answers[20:22]] == ["unknown", "unknown"]
    assert answers[20]["unknown"] == ["dst is not NS/POD, svc/NS/SERVICE or an IP: None"]
    assert answers[22]["verdict"] in ("allow", "deny")
    assert {a["verdict"] for a in answers[:20]} <= {"allow", "deny"}
    assert asked("--batch", str(file)).exit_code == 0


@pytest.mark.parametrize(
    "words_",
    [[], ["--from", "a/b"], ["--batch", "x", "--from", "a/b"], ["--batch", "/nowhere"], ["--batch", "pyproject.toml"]],
)
def test_questions_without_an_answer(words_: list[str]) -> None:
    assert asked(*words_).exit_code == 2


def test_what_if(tmp_path: Path) -> None:
    opened = clusters.opened("policy-drop")
    src = next(e.ref for e in opened.explainer().parts.endpoints if e.workload == "shop/frontend")
    words_ = ["--from", src, "--to", "svc/shop/db", "--port", "80", "--format", "json"]
    file = tmp_path / "p.yaml"
    file.write_text(
        """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-to-db, namespace: shop}
spec:
  podSelector: {matchLabels: {tier: web}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api-to-db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [api, web]}]}}]}]
"""
    )
    assert json.loads(asked(*words_).stdout)["verdict"] == "deny"
    found = json.loads(asked(*words_, "--with", str(file)).stdout)
    assert (found["verdict"], found["decided_by"]["name"]) == ("allow", "api-to-db")
    assert opened.explain(src, "svc/shop/db", 80, what_if=file).verdict == "allow"
    assert opened.explain(src, "svc/shop/db", 80).verdict == "deny"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML"),
        ("- 1", "not an object"),
        ("kind: Tier", "without a name"),
        ("kind: ConfigMap\nmetadata: {name: x}", "ConfigMap, which is not a policy object"),
        ("", "contains no object"),
    ],
)
def test_what_if_files_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(SourceError, match=said):
        objects_in(file)
    done = asked("--from", "a/b", "--to", "a/c", "--port", "1", "--with", str(file))
    assert isinstance(done.exception, SourceError)  # which the program prints, and exits with 2


def test_what_if_a_stored_policy_is_meant_by_its_name_in_the_api(tmp_path: Path) -> None:
    stored = gnp("default.x", selector="all()", types=["Ingress"], ingress=[DENY])
    stored["metadata"]["annotations"] = {"projectcalico.org/metadata": '{"uid":"1"}'}
    file = tmp_path / "x.yaml"
    file.write_text(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\n"
        "spec: {selector: all(), ingress: [{action: Allow}]}\n"
    )
    from calicokit.evidence.model import Want
    from calicokit.policy.read import LISTS
    from tests.fakes import source_of
    from tests.policy.made import DEFAULT

    source = source_of(**{**{k: [] for k in LISTS}, **DEFAULT, "globalnetworkpolicies": [stored]})
    text = source.answers[Want("globalnetworkpolicies")]
    source.answers[Want("globalnetworkpolicies")] = text.replace(
        b'"kind"', b'"apiVersion":"crd.projectcalico.org/v1","kind"', 1
    )
    found = calicokit.Cluster(source)
    assert found.explain("a/web-1", "a/db-1", 80).verdict == "deny"
    assert found.explain("a/web-1", "a/db-1", 80, what_if=file).verdict == "allow"
