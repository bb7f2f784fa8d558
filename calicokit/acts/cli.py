"""``calicokit act …``: each shows its plan, and does it with ``--yes`` only."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from calicokit.acts.model import ActError, Execute, Plan, Ran
from calicokit.evidence.model import SourceError
from calicokit.evidence.own_pods import OPTION

if TYPE_CHECKING:
    import pandas as pd

    from calicokit.acts.run import Outcome
    from calicokit.cluster import Cluster
    from calicokit.evidence.live.cluster import LiveCluster

app = typer.Typer(
    name="act",
    help="Make a temporary change on a live cluster, only with --yes; without it, show the plan.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Context = Annotated[str | None, typer.Option("--context", help="Kubeconfig context; the current one if omitted.")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="Kubeconfig file instead of the default one.")]
CalicoNamespace = Annotated[
    str | None,
    typer.Option(
        OPTION,
        metavar="NS",
        help="Namespace of Calico, where it is neither calico-system nor kube-system and several may be it.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Execute the plan. Without it, the plan is only shown.")]
To = Annotated[str, typer.Option("--to", metavar="IP|NS/POD|svc/NS/NAME", help="Destination pod, service or IP.")]
Port = Annotated[int, typer.Option("--port", help="Destination port.")]


@app.command()
def loglevel(
    node: Annotated[str, typer.Argument(help="Node.")],
    level: Annotated[str, typer.Option(help="debug, trace, info, warning or error.")] = "debug",
    minutes: Annotated[float, typer.Option(help="Duration.")] = 5,
    yes: Yes = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
) -> None:
    """Raise Felix's log level on one node for some minutes; Felix restarts twice there."""
    from calicokit.acts import loglevel as act

    target = _Target(context, kubeconfig, calico_namespace)
    pod = target.calico_node(node)
    plan = _planned(
        lambda: act.plan(pod, node, level, minutes, secrets.token_hex(4), target.execute(pod, "calico-node"))
    )
    _carried_out(plan, target, yes)


@app.command()
def trace(
    source: Annotated[str, typer.Option("--from", metavar="IP|NS/POD", help="Source pod or IP.")],
    to: To,
    port: Port,
    protocol: Annotated[str, typer.Option("--proto", help="tcp or udp.")] = "tcp",
    node: Annotated[str | None, typer.Option(help="Node to trace on; the source pod's node if omitted.")] = None,
    seconds: Annotated[int, typer.Option(help="Duration.")] = 30,
    yes: Yes = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
) -> None:
    """Trace one flow through a node's iptables or nftables rules for some seconds and print its path."""
    from calicokit import terminal
    from calicokit.acts import trace as act
    from calicokit.parsers.base import parse

    target = _Target(context, kubeconfig, calico_namespace)
    where = node or target.node_of(source)
    pod = target.calico_node(where)

    def planned() -> Plan:
        flow = act.Flow(target.address(source), target.address(to), port, protocol)
        return act.plan(pod, where, flow, seconds, secrets.token_hex(4), target.execute(pod, "calico-node"))

    plan = _planned(planned)
    outcome = _carried_out(plan, target, yes)
    kind, text = act.traces(plan, outcome.output)
    frame = parse(kind, text).frame
    if frame.empty:
        typer.echo("No packet of this flow was seen on this node.")
    terminal.write_frame(frame, kind.replace("-", "_"), "table", None, None, 0)


@app.command()
def probe(
    source: Annotated[str, typer.Argument(metavar="NS/POD", help="Source pod.")],
    to: To,
    port: Port,
    container: Annotated[str | None, typer.Option(help="Container of the pod; the first if omitted.")] = None,
    seconds: Annotated[int, typer.Option(help="Seconds to wait for an answer.")] = 3,
    yes: Yes = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    calico_namespace: CalicoNamespace = None,
) -> None:
    """Try a TCP connection from a pod, with a tool of its image. Exit status: 0 connected, 1 not, 2 no answer."""
    from calicokit.acts import probe as act

    target = _Target(context, kubeconfig, calico_namespace)
    pod = target.pod(source)
    inside = container or target.first_container(pod)

    def planned() -> Plan:
        # Without --yes nothing is run in a pod of somebody's, so what it has is not known yet.
        tool = act.tool_of(target.execute(pod, inside)) if yes else act.TOOLS[0]
        return act.plan(pod, inside, target.address(to), port, seconds, tool)

    plan = _planned(planned)
    outcome = _carried_out(plan, target, yes)
    found = act.UNKNOWN if outcome.last is None else act.verdict(plan.steps[0].argv[0], outcome.last)
    typer.echo(f"{source} → {to} port {port}: {found}")
    if found == act.UNKNOWN:
        _fail(f"The result is unknown ({outcome.failed}).")
    raise typer.Exit(0 if found == act.CONNECTED else 1)


class _Target:
    """The live cluster of an act: its pods, addresses and containers, and what runs a command in one."""

    def __init__(self, context: str | None, kubeconfig: Path | None, namespace: str | None) -> None:
        from calicokit.cluster import Cluster
        from calicokit.evidence.live.cluster import LiveCluster

        self.live: LiveCluster = LiveCluster(
            context, str(kubeconfig) if kubeconfig else None, namespace=namespace or ""
        )
        self.cluster: Cluster = Cluster(self.live)

    def execute(self, pod: tuple[str, str], container: str) -> Execute:
        from calicokit.evidence.live.execute import execute

        def run(argv: Sequence[str], limit: float, stop: Event) -> Ran:
            return execute(self.live.server, pod, container, argv, limit, stop)

        return run

    def calico_node(self, node: str) -> tuple[str, str]:
        """The calico-node pod of a node."""
        pods = self._known("health.pods")
        mine = pods[(pods["component"] == "calico-node") & (pods["node"] == node) & (pods["phase"] == "Running")]
        if mine.empty:
            ignored = "".join(f"; {m.why}" for m in self.cluster.coverage.missing if m.id == "pods")
            _fail(f"No calico-node pod runs on {node}{ignored}.")
        return str(mine.iloc[0]["namespace"]), str(mine.iloc[0]["pod"])

    def pod(self, name: str) -> tuple[str, str]:
        row = self._pod(name)
        return str(row["namespace"]), str(row["pod"])

    def node_of(self, name: str) -> str:
        if "/" not in name:
            _fail("Give --node: without a source pod the node is not known.")
        return str(self._pod(name)["node"])

    def address(self, name: str) -> str:
        """The address of a pod (NS/POD) or service (svc/NS/NAME), or the address itself."""
        if name.startswith("svc/"):
            found = self._known("kube.services")
            addresses = found[("svc/" + found["namespace"] + "/" + found["service"]) == name]["cluster_ips"].tolist()
        elif "/" in name:
            addresses = [self._pod(name)["addresses"]]
        else:
            return name
        if not addresses or not addresses[0]:
            _fail(f"{name} has no address.")
        return str(addresses[0][0])

    def first_container(self, pod: tuple[str, str]) -> str:
        objects = self.cluster.given("pods")
        named = (
            i["spec"]["containers"][0]["name"]
            for i in objects.rows(lambda item: item)
            if (i["metadata"]["namespace"], i["metadata"]["name"]) == pod
        )
        return str(next(named))

    def _pod(self, name: str) -> pd.Series[str]:
        pods = self._known("kube.pods")
        mine = pods[(pods["namespace"] + "/" + pods["pod"]) == name]
        if mine.empty:
            _fail(f"There is no pod {name} (give it as NAMESPACE/POD).")
        return mine.iloc[0]

    def _known(self, table: str) -> pd.DataFrame:
        frame = self.cluster.table(table)
        if frame.unknown:
            _fail(f"{table} is unknown: {frame.unknown[0]}.")
        return frame


def _planned(make: Callable[[], Plan]) -> Plan:
    from calicokit.evidence.live.api import ApiError

    try:
        return make()
    except (ActError, ApiError) as error:
        _fail(str(error))


def _carried_out(plan: Plan, target: _Target, yes: bool) -> Outcome:
    """Show the plan; with ``yes``, do it and say what came of it; without, end here."""
    from calicokit import terminal
    from calicokit.acts.run import perform

    for line in plan.lines():
        typer.echo(terminal.plain(line), err=yes)
    if not yes:
        typer.echo("Nothing was done; run it again with --yes to execute the plan.")
        raise typer.Exit(0)
    try:
        outcome = perform(plan, target.execute(plan.pod, plan.container), lambda word: typer.echo(word, err=True))
    except ActError as error:
        _fail(str(error))
    for left in outcome.left:
        typer.echo(f"NOT UNDONE: {terminal.plain(left)}; if the kit dies: {plan.expires}", err=True)
    if outcome.interrupted:
        typer.echo(
            "stopped; " + ("see above for what was not undone" if outcome.left else "everything was undone"), err=True
        )
    if any(s.undo for s in plan.steps) and (outcome.failed or outcome.left):
        _fail(f"{outcome.failed or 'not everything was undone'}.")
    return outcome


def _fail(sentence: str) -> NoReturn:
    raise SourceError(sentence)  # the command line says it and exits with 2
