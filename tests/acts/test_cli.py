"""`calicokit act …` as its users meet it: nothing is done without --yes, and what is wrong is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from calicokit.acts import cli, model, probe
from calicokit.acts.model import ActError
from calicokit.evidence.live.api import ApiError
from calicokit.evidence.model import SourceError
from tests.acts.fake import Pod, ran, until_stopped
from tests.acts.test_plans import node, raised
from tests.fakes import cluster_of, own, pod
from tests.test_cli import run

TARGET = cli._Target


def target(inside: Pod) -> cli._Target:
    made = TARGET.__new__(TARGET)
    made.execute = lambda *_: inside  # type: ignore[method-assign]
    services = [{"metadata": {"namespace": "shop", "name": "cart"}, "spec": {"clusterIP": "10.96.0.7"}}]
    calico = pod("kube-system/calico-node-x", "n1", "10.0.0.1", hostNetwork=True, metadata=own())
    cart = pod("shop/cart-1", "n1", "10.48.0.5", containers=[{"name": "cart"}, {"name": "other"}])
    fake = pod("shop/calico-node-y", "n2", "10.0.0.2", hostNetwork=True, metadata=own())
    made.cluster = cluster_of(pods=[calico, cart, fake], services=services)
    return made


def test_without_yes_only_the_plan_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    inside = node()
    plan = raised(inside)
    before = list(inside.ran)
    with pytest.raises(typer.Exit) as end:
        cli._carried_out(plan, target(inside), yes=False)
    assert end.value.exit_code == 0
    assert inside.ran == before
    said = capsys.readouterr().out
    assert "Nothing was done; run it again with --yes" in said
    assert "if the kit dies" in said


def test_with_yes_it_is_done_and_what_is_left_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calicokit.acts.run.time.sleep", lambda _: None)
    inside = node(**{",+1d": ran(exit=None, failed="gone")})
    with pytest.raises(SourceError, match="not everything was undone"):
        cli._carried_out(raised(inside), target(inside), yes=True)
    assert "NOT UNDONE: sed -i -e" in capsys.readouterr().err


def test_what_names_stand_for() -> None:
    found = target(Pod(timeout=until_stopped()))
    assert found.calico_node("n1") == ("kube-system", "calico-node-x")
    assert found.address("shop/cart-1") == "10.48.0.5"
    assert found.address("svc/shop/cart") == "10.96.0.7"
    assert found.address("10.9.9.9") == "10.9.9.9"
    assert found.node_of("shop/cart-1") == "n1"
    assert found.first_container(("shop", "cart-1")) == "cart"
    for wrong in ("shop/none", "svc/shop/none"):
        with pytest.raises(SourceError):
            found.address(wrong)
    with pytest.raises(SourceError, match=r"No calico-node pod runs on n2; ignored.*shop/calico-node-y"):
        found.calico_node("n2")
    with pytest.raises(SourceError, match="--node"):
        found.node_of("10.0.0.1")


@pytest.mark.parametrize("error", [ActError("no"), ApiError(403, "forbidden")])
def test_a_plan_that_cannot_be_made_is_one_sentence(error: Exception) -> None:
    def make() -> model.Plan:
        raise error

    with pytest.raises(SourceError, match=str(error)):
        cli._planned(make)


@pytest.mark.parametrize(
    ("status", "said", "code"), [(0, "open", 0), (1, "Connection refused", 1), (1, "Connection timed out", 1)]
)
def test_a_probe_says_what_became_of_it(
    status: int, said: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = Pod(**{"nc -z": ran(exit=status, stderr=said.encode())})
    monkeypatch.setattr(cli, "_Target", lambda *_: target(inside))
    with pytest.raises(typer.Exit) as end:
        cli.probe("shop/cart-1", "10.48.0.9", 80, yes=True)
    assert end.value.exit_code == code
    assert capsys.readouterr().out.startswith("shop/cart-1 → 10.48.0.9 port 80: ")
    assert [a[0] for a in inside.ran] == ["nc", "nc"]


def test_a_probe_without_yes_runs_nothing_in_the_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Pod()
    monkeypatch.setattr(cli, "_Target", lambda *_: target(inside))
    with pytest.raises(typer.Exit):
        cli.probe("shop/cart-1", "10.48.0.9", 80)
    assert inside.ran == []


def test_the_commands(tmp_path: Path) -> None:
    assert all(word in run("act", "--help").stdout for word in ("loglevel", "trace", "probe"))
    config = tmp_path / "none"
    done = run("act", "loglevel", "n1", "--kubeconfig", str(config))
    assert (done.returncode, done.stderr.count("\n"), "Traceback" in done.stderr) == (2, 1, False)


def test_no_plan_holds_a_shell() -> None:
    plans = [raised(node()), probe.plan(("a", "b"), "c", "10.0.0.1", 80, 3, "curl")]
    words = [w for p in plans for s in (*p.steps, *filter(None, (p.timer, p.reader))) for w in (*s.argv, *s.undo)]
    assert not {"sh", "bash", "-c"} & set(words)
