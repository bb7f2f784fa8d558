"""What Felix's state, contact and configuration mean, in sentences that are computed from their tables."""

from __future__ import annotations

import pandas as pd

from calicokit.schema import records
from calicokit.sentences import listed, plural, says

MOST = 5


@says
def state(state: pd.DataFrame) -> str:
    """Whether Felix is running and in sync (``felix.state``)."""
    ready = state[state["state"] == "ready"]
    if len(ready) == len(state):
        return f"Felix is running and in sync on {_all(len(state))}."
    unknown = state[state["state"] == "unknown"]
    told = [f"{r.node}: {r.state}, {r.told}." for r in records(state[state["state"] != "ready"].head(MOST))]
    if len(unknown) == len(state):
        return f"Whether Felix is in sync is unknown on {_all(len(state))}. {' '.join(told)}"
    not_known = f"; of {len(unknown)} it is unknown" if len(unknown) else ""
    return f"Felix is in sync on {len(ready)} of {plural(len(state), 'node')}{not_known}. {' '.join(told)}"


def _all(count: int) -> str:
    return "the one node seen" if count == 1 else f"all {count} nodes seen"


@says
def contact(contact: pd.DataFrame) -> str:
    """Whether components reach the API server and Typha (``felix.contact``)."""
    lost = contact[contact["lost"]]
    if not len(lost):
        once = " Past or short failures are in the table." if len(contact) else ""
        return f"No log shows that the API server or Typha is unreachable now.{once}"
    return " ".join(f"{r.component} on {r.node} cannot reach the {r.to}: {r.error}." for r in records(lost.head(MOST)))


@says
def configuration(configuration: pd.DataFrame) -> str:
    """Non-default Felix configuration, and whether Felix applied it (``felix.configuration``)."""
    changed = configuration[configuration["origin"] != "default"]
    told = configuration[configuration["said_by"] == "felix"]["node"].nunique()
    differs = configuration[configuration["settings"].notna()]
    text = f"{plural(changed['field'].nunique(), 'field')} differ from Felix's default on some node. On {told} of "
    text += f"{plural(configuration['node'].nunique(), 'node')} Felix's log confirms the effective values."
    if len(differs):
        text += f" There {listed(set(differs['field']), MOST)} are not what the settings that were seen say: Felix was "
        text += "told otherwise, or has not heard of a change."
    return text


@says
def resyncs(resyncs: pd.DataFrame) -> str:
    """Whether another program writes to Felix's chains (``felix.resyncs``)."""
    again = resyncs[resyncs["again"]]
    if len(again):
        return " ".join(
            f"On {r.node} Felix found {r.table} {r.chain} modified {r.times} times." for r in records(again.head(MOST))
        )
    return "No Felix finds its chains modified repeatedly; a few times in its first minute are normal."
