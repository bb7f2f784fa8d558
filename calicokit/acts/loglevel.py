"""Raise Felix's log level on one node for some minutes.

Felix takes a setting from its environment, its file, its node's and its cluster's FelixConfiguration, the first that
has it (felix/config). A FelixConfiguration could not be undone on the node if the kit dies, as calico-node's image has
nothing that writes to the API; its file, /etc/calico/felix.cfg inside the container, can. Any way restarts Felix: it
reads settings at its start only, and exits for new ones on SIGHUP (felix/daemon/daemon.go); runit starts it again in
the same container.
"""

from __future__ import annotations

from threading import Event

from calicokit.acts.model import LIMIT, ActError, Execute, Plan, Step, checked_name, delayed

FILE, SERVICE = "/etc/calico/felix.cfg", "/etc/service/enabled/felix"
RESTART = ("sv", "hup", SERVICE)
LEVELS = ("DEBUG", "TRACE", "INFO", "WARNING", "ERROR")
MOST_MINUTES = 60


def plan(pod: tuple[str, str], node: str, level: str, minutes: float, tag: str, execute: Execute) -> Plan:
    """The plan for a node's calico-node pod, after looking whether it can work there.

    ``tag`` marks the kit's lines in the file. Raises :class:`ActError` where it would change nothing, or could not be
    undone.
    """
    level = level.upper()
    if level not in LEVELS:
        raise ActError(f"{level} is no level of Felix's log; there are {', '.join(LEVELS)}.")
    if not 0 < minutes <= MOST_MINUTES:
        raise ActError(f"Give between 0 and {MOST_MINUTES} minutes.")
    checked_name(tag, "mark")
    _look(node, execute)
    seconds = round(minutes * 60)
    begin = f"^# calicokit {tag}$"
    take_back = ("sed", "-i", "-e", f"/{begin}/,+1d", FILE)
    return Plan(
        title=f"Raise Felix's log level on {node} to {level} for {minutes:g} minutes",
        pod=pod,
        container="calico-node",
        changes=f"two lines in {FILE} inside the container, which a new container does not have",
        restarts=f"Felix on {node}, twice: a few seconds each, in the same container. Rules and routes stay and "
        "traffic flows; pods that start meanwhile get their network a few seconds later",
        undone="the lines are taken out and Felix restarts, at the end, on errors and on Ctrl-C",
        expires=f"a process on the node does the same after {seconds + 30} s",
        seconds=seconds,
        steps=(
            Step(
                ("sed", "-i", "-e", f"$ a # calicokit {tag}\\nLogSeverityScreen = {level}", FILE),
                "set the level",
                take_back,
            ),
            Step(RESTART, "restart Felix", RESTART),
        ),
        timer=delayed(seconds + 30, ("grep", "-q", begin, FILE), take_back, RESTART),
        notes=(
            "debug logs are big: tens of MB a minute on a busy node; read them with kubectl logs or calicokit capture",
        ),
    )


def _look(node: str, execute: Execute) -> None:
    """What has to be so, or nothing is begun."""
    env = execute(("grep", "-c", "FELIX_LOGSEVERITYSCREEN=", "/proc/1/environ"), LIMIT, Event())
    if env.exit == 0:
        raise ActError(
            f"calico-node on {node} has FELIX_LOGSEVERITYSCREEN in its environment, which wins over every other way; "
            "only the DaemonSet can change it, and that restarts all nodes."
        )
    found = execute(("grep", "-i", "-c", "LogSeverityScreen", FILE), LIMIT, Event())
    if found.exit == 0:
        raise ActError(f"{FILE} on {node} sets LogSeverityScreen already; another act may still be going on.")
    if env.exit != 1 or found.exit != 1:
        said = bytes(env.stderr if env.exit != 1 else found.stderr).decode("utf-8", "replace").strip()
        raise ActError(f"calico-node's settings on {node} cannot be read ({said or env.failed or found.failed}).")
    running = execute(("sv", "status", SERVICE), LIMIT, Event())
    if running.exit != 0 or not running.stdout.startswith(b"run:"):
        raise ActError(f"Felix on {node} is not run by runit in this image, so it could not be restarted.")
