"""What kubectl prints of Calico's parts, where no recording has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from calicokit.evidence.model import Evidence, Want
from calicokit.evidence.texts import Texts
from calicokit.health import printed
from calicokit.parsers.base import Parsed
from calicokit.parsers.kubernetes.kubectl import CONDITIONS, DESCRIBE


class Described(Texts):
    """Descriptions as their parser reads them."""

    def parsed(self, kind: str) -> Iterator[tuple[Evidence, Parsed]]:
        objects = [{"kind": "TigeraStatus", "name": "calico"}, {"kind": "Node", "name": "reed-1"}]
        conditions = [
            {"name": "calico", "type": "Degraded", "status": "True", "reason": "PodFailure", "message": "it crashes"},
            {"name": "calico", "type": "Available", "status": "False", "reason": "Unknown"},
            {"name": "reed-1", "type": "Ready", "status": "True"},
        ]
        tables = {DESCRIBE.name: DESCRIBE.frame(objects), "conditions": CONDITIONS.frame(conditions)}
        yield Evidence(Want(self.id), b""), Parsed(kind, tables)


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    columns = ["component", "condition", "status", "good", "reason"]
    values = frame[columns].astype("object").where(frame[columns].notna(), None)
    return list(values.itertuples(index=False, name=None))


def test_a_description_says_more_than_the_line_of_a_list() -> None:
    text = b"NAME     AVAILABLE   PROGRESSING   DEGRADED   SINCE\ncalico   True        True          False      3m\n"
    listed = Texts("kubectl-get-tigerastatus", [Evidence(Want("kubectl-get-tigerastatus"), text)])
    assert rows(printed.operator(listed, Described("kubectl-describe-tigerastatus", []))) == [
        ("calico", "Available", "False", False, None),
        ("calico", "Progressing", "True", None, None),
        ("calico", "Degraded", "True", False, "PodFailure"),
    ]


@pytest.mark.parametrize(
    ("ready", "status", "age", "expected"),
    [
        ("1/1", "Running", "3s", True),
        ("0/1", "Running", "3s", None),
        ("0/1", "Running", "9m", False),
        ("0/1", "Terminating", "9m", None),
        ("0/1", "Completed", "9m", None),
        ("0/1", "CrashLoopBackOff", "9m", False),
        ("0/1", "Running", "<unknown>", None),
    ],
)
def test_a_pod_is_not_ready_where_it_should_be(ready: str, status: str, age: str, expected: bool | None) -> None:
    text = f"NAME                READY   STATUS   RESTARTS   AGE\ncalico-node-x2k9q   {ready}   {status}   0   {age}\n"
    pods = printed.pods(Texts("kubectl-get-pods-wide", [Evidence(Want("kubectl-get-pods-wide"), text.encode())]))
    (found,) = pods["ready"].astype("object").where(pods["ready"].notna(), None)
    assert found is expected
