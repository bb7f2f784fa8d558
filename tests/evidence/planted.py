"""A source with secrets planted wherever evidence has room for one: made from a seed, the same in every run.

A secret is some random words joined by the characters that make redaction hard. None of its words may survive. A
planter that is ``harmless`` has ``REDACTED`` in the same places.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from calicokit.evidence.model import Answer, Evidence, Missing, Source, Want

LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@dataclass
class Planter:
    """Makes secrets and remembers what was planted where: the place → the words of its secrets."""

    chance: random.Random = field(default_factory=lambda: random.Random(17))
    planted: dict[str, list[str]] = field(default_factory=dict)
    harmless: bool = False

    def word(self, place: str, length: int = 14, letters: str = LETTERS) -> str:
        if self.harmless:
            return "REDACTED"
        made = "".join(self.chance.choice(letters) for _ in range(length))
        self.planted.setdefault(place, []).append(made)
        return made

    def secret(self, place: str, joined_by: str = "") -> str:
        """Words around each of some characters."""
        if self.harmless:
            return "REDACTED"
        return "".join(self.word(place) + c for c in joined_by) + self.word(place)

    def base64(self, place: str, text: str) -> str:
        if self.harmless:
            return "REDACTED"
        made = base64.b64encode(text.encode()).decode()
        self.planted.setdefault(place, []).append(made)
        return made

    def key(self, place: str, lines: int = 4) -> str:
        return "\n".join(self.word(place, 64) for _ in range(lines))


def token(p: Planter, place: str) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').decode().rstrip("=")
    return f"{head}.eyJ{p.word(place, 40)}.{p.word(place, 40)}"


TEXTS: dict[str, Callable[[Planter, str], str]] = {
    "--password X": lambda p, a: f"run --password {p.secret(a)} --verbose",
    "--db-pass=X": lambda p, a: f"run --db-pass={p.secret(a, '!')} --verbose",
    "--api-key 'X Y'": lambda p, a: f"run --api-key '{p.secret(a, ' ')}'",
    "-password X": lambda p, a: f"java -jar a.jar -password {p.secret(a)}",
    "mysql -pX": lambda p, a: f"mysqldump -h db -u root -p{p.secret(a)} shop",
    "sshpass -p X": lambda p, a: f"sshpass -p {p.secret(a)} ssh root@host",
    "curl -u a:X": lambda p, a: f"curl -s -u admin:{p.secret(a, '$')} https://host/",
    "curl --user a:X": lambda p, a: f"curl --user admin:{p.secret(a)} https://host/",
    "curl -H": lambda p, a: f"curl -H 'X-Api-Key: {p.secret(a)}' https://host/",
    "password = X": lambda p, a: f"password = {p.secret(a)}",
    "password: X": lambda p, a: f"password: {p.secret(a, '#')}",
    "password = 'X Y'": lambda p, a: f"password = '{p.secret(a, ' ')}'",
    'password "X\\"Y"': lambda p, a: 'password "{}"'.format(p.secret(a, '"').replace('"', '\\"')),
    "password 'X\\Y'": lambda p, a: f"password '{p.secret(a, chr(92))}'",
    "password=X;": lambda p, a: f"Server=db;User Id=sa;Password={p.secret(a)};Encrypt=yes",
    "pwd=X": lambda p, a: f"Server=db;Uid=sa;Pwd={p.secret(a)};",
    "passphrase=X": lambda p, a: f"passphrase={p.secret(a, ',')}",
    "DB_PASSWORD=X": lambda p, a: f"export DB_PASSWORD={p.secret(a)}",
    "PGPASSWORD=X": lambda p, a: f"PGPASSWORD={p.secret(a)} psql -h db",
    "client_secret": lambda p, a: f"grant_type=x&client_secret={p.secret(a)}&scope=y",
    "dbPassword JSON": lambda p, a: json.dumps({"user": "u", "dbPassword": p.secret(a, "'")}),
    "JSON with quotes": lambda p, a: json.dumps({"password": p.secret(a, '"\\'), "user": "u"}),
    "JSON in JSON": lambda p, a: json.dumps({"body": json.dumps({"token": p.secret(a, '"'), "user": "u"})}),
    "Go struct": lambda p, a: f'Config{{User:"u", Password:"{p.secret(a, " ")}", Port:5432}}',
    "Go EnvVar": lambda p, a: f'v1.EnvVar{{Name:"DATABASE", Value:"{p.secret(a)}", ValueFrom:nil}}',
    "env in JSON": lambda p, a: json.dumps({"env": [{"name": "DATABASE", "value": p.secret(a, " ")}]}),
    "args in JSON": lambda p, a: json.dumps({"args": ["--password", p.secret(a, " "), "-v"]}),
    "Basic": lambda p, a: f"Authorization: Basic {p.base64(a, 'admin:' + p.word(a))}",
    "Basic alone": lambda p, a: f"sent header Basic {p.base64(a, 'admin:' + p.word(a))}",
    "Bearer": lambda p, a: f"Authorization: Bearer {p.secret(a)}",
    "Authorization token": lambda p, a: f"authorization: token {p.secret(a)}",
    "Authorization JSON": lambda p, a: json.dumps({"Authorization": [f"Bearer {p.secret(a)}"]}),
    "Cookie": lambda p, a: f"Cookie: session={p.secret(a)}",
    "JWT": lambda p, a: f"got {token(p, a)} from the server",
    "URL": lambda p, a: f"dial https://root:{p.secret(a)}@etcd:2379 failed",
    "URL with @": lambda p, a: f"dial postgres://u:{p.secret(a, '@')}@db:5432/shop failed",
    "URL with /": lambda p, a: f"dial postgres://u:{p.secret(a, '/')}@db:5432/shop failed",
    "redis URL": lambda p, a: f"redis://:{p.secret(a)}@redis:6379/0",
    "URL with a token": lambda p, a: f"clone https://{p.word(a, 30)}@git.example/x",
    "MySQL's address": lambda p, a: f"open shop:{p.secret(a)}@tcp(db:3306)/shop",
    "query": lambda p, a: f"GET /v1/x?user=u&access_token={p.secret(a)}&page=2",
    "AWS id": lambda p, a: "id AKIA" + p.word(a, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "AWS secret": lambda p, a: f"aws_secret_access_key = {p.word(a, 40)}",
    "GitHub": lambda p, a: f"using ghp_{p.word(a, 36)} now",
    "GitLab": lambda p, a: f"using glpat-{p.word(a, 20)} now",
    "Slack": lambda p, a: f"using xoxb-{p.word(a, 12, '0123456789')}-{p.word(a, 24)}",
    "Google": lambda p, a: f"using AIza{p.word(a, 35)}",
    "Stripe": lambda p, a: f"using sk_live_{p.word(a, 24)}",
    "Azure": lambda p, a: f"AccountName=x;AccountKey={p.word(a, 60)}==;EndpointSuffix=y",
    "webhook": lambda p, a: f"https://hooks.slack.com/services/{p.word(a, 9)}/{p.word(a, 9)}/{p.word(a, 24)}",
    "SQL": lambda p, a: f"CREATE USER u IDENTIFIED BY '{p.secret(a)}'",
    "XML": lambda p, a: f"<user>u</user><password>{p.secret(a, ' ')}</password>",
    "netrc": lambda p, a: f"machine host login user password {p.secret(a)}",
    "router": lambda p, a: f"neighbor 10.0.0.1 password {p.secret(a)}",
    "crypt": lambda p, a: f"root:$6${p.word(a, 12)}${p.word(a, 60)}:1:0",
    "WireGuard": lambda p, a: f"PrivateKey = {p.word(a, 43)}=",
    "ss": lambda p, a: f"ESTAB 0 0 10.0.0.1:179 10.0.0.2:333 md5keys:10.0.0.2/32={p.secret(a)}",
    "sysctl": lambda p, a: f"net.ipv4.tcp_fastopen_key = {p.word(a, 8)}-{p.word(a, 8)}",
    "PEM": lambda p, a: f"-----BEGIN RSA PRIVATE KEY-----\n{p.key(a)}\n-----END RSA PRIVATE KEY-----",
    "PEM with headers": lambda p, a: (
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
        f"DEK-Info: AES-128-CBC,{p.word(a)}\n\n{p.key(a)}\n-----END EC PRIVATE KEY-----"
    ),
    "PEM in base64": lambda p, a: (
        "client-key-data: " + p.base64(a, f"-----BEGIN PRIVATE KEY-----\n{p.key(a)}\n-----END PRIVATE KEY-----\n")
    ),
    "cut JWT": lambda p, a: token(p, a)[:36] + ".eyJ" + p.word(a, 20),
    "password X": lambda p, a: f"the password is {p.secret(a)}, set password {p.secret(a)}",
    "password for u: X": lambda p, a: f"Password for user root: {p.secret(a)}",
    "XML attribute": lambda p, a: f'<add key="password" value="{p.secret(a)}"/>',
    "AWS signature": lambda p, a: f"Authorization: AWS4-HMAC-SHA256 SignedHeaders=host, Signature={p.secret(a)}",
    "key of a map": lambda p, a: f"config[password]={p.secret(a)} token%3D{p.secret(a)} password -> {p.secret(a)}",
    "YAML block": lambda p, a: f"password: |\n  {p.secret(a, ' ')}\nuser: u",
    "YAML list": lambda p, a: f"args:\n- --password\n- {p.secret(a)}\n- -v",
    "YAML env": lambda p, a: f"env:\n- name: DATABASE\n  value: {p.secret(a)}",
    "YAML applied": lambda p, a: (
        f'kubectl.kubernetes.io/last-applied-configuration: |\n      {{"spec":{{"x":"{p.secret(a)}"}}}}'
    ),
}
"""What a log, an event or an annotation may say."""

TAILS: dict[str, Callable[[Planter, str], str]] = {
    "PEM without its end": lambda p, a: f"-----BEGIN PRIVATE KEY-----\n{p.key(a)}",
    "PEM without its beginning": lambda p, a: f"{p.key(a)}\n-----END PRIVATE KEY-----",
    "quote without its end": lambda p, a: f'password="{p.secret(a, " ")}',
}
"""What stands only at the end or at the beginning of a text."""

TIME = "2026-03-01T12:00:00.123456789Z"
LAYOUTS: dict[str, Callable[[str], str]] = {
    "calico": lambda s: f"2026-03-01 12:00:00.123 [INFO][9] felix/x.go 1: {s}",
    "CRI": lambda s: "\n".join(f"{TIME} stderr F {line}" for line in s.split("\n")),
    "Docker": lambda s: "\n".join(
        json.dumps({"log": f"{line}\n", "stream": "stderr", "time": TIME}, separators=(",", ":"))
        for line in s.split("\n")
    ),
    "logrus": lambda s: f"time={json.dumps(TIME)} level=info msg={json.dumps(s)} pid=9",
    "zap": lambda s: json.dumps({"level": "info", "ts": 1.5, "msg": s, "caller": "x.go:1"}),
    "klog": lambda s: (
        f'I0301 12:00:00.123456       1 x.go:10] "{s}"' if '"' not in s else f"I0301 12:00:00 1 x.go:1] {s}"
    ),
    "stern": lambda s: "\n".join(f"calico-node-abcde calico-node {line}" for line in s.split("\n")),
    "kubectl": lambda s: "\n".join(f"[pod/calico-node-abcde/calico-node] {line}" for line in s.split("\n")),
}
LOGS = (
    "felix-log",
    "bird-log",
    "confd-log",
    "cni-log",
    "startup-log",
    "init-log",
    "felix-previous-log",
    "startup-previous-log",
)


def logs(p: Planter) -> Iterator[Answer]:
    """Each text in each layout, a log for each layout."""
    for id_, (layout, laid) in zip(LOGS, LAYOUTS.items(), strict=True):
        lines = [laid(made(p, f"log {layout}: {name}")) for name, made in TEXTS.items()]
        end = laid(TAILS["PEM without its end"](p, f"log {layout}: PEM without its end"))
        begin = TAILS["PEM without its beginning"](p, f"log {layout}: PEM without its beginning")
        yield Evidence(Want(id_, "n1"), "\n".join([begin, *lines, end]).encode())


def container(p: Planter, place: str, name: str, **more: Any) -> dict[str, Any]:
    """A container with a secret in everything that takes a text."""
    env = (
        "DB_PASSWORD",
        "DATABASE_URL",
        "FELIX_LOGSEVERITYSCREEN",
        "CALICO_NETWORKING_BACKEND",
        "IP",
        "CLUSTER_X",
        "X",
    )
    probe = {
        "exec": {"command": ["sh", "-c", f"check {p.secret(f'{place} probe')}"]},
        "httpGet": {
            "path": f"/health/{p.secret(f'{place} probe path')}",
            "httpHeaders": [{"name": "X", "value": p.secret(f"{place} header")}],
        },
    }
    return {
        "name": name,
        "image": f"quay.io/calico/{name}:v3.30",
        "command": ["sh", "-c", f"run {p.secret(f'{place} command')}"],
        "args": [f"-x{p.secret(f'{place} args')}", "--password", p.secret(f"{place} args --password X", '"')],
        "env": [{"name": n, "value": p.secret(f"{place} env {n}", '"\\')} for n in env],
        "livenessProbe": probe,
        "lifecycle": {"postStart": {"exec": {"command": ["sh", p.secret(f"{place} lifecycle")]}}},
        **more,
    }


def calicos(p: Planter, place: str) -> dict[str, Any]:
    """A container of Calico's: its arguments and settings stay, what is secret in them does not."""
    words = ["calico-node", "-felix", "--password", p.secret(f"{place} --password X"), f"-p{p.secret(f'{place} -pX')}"]
    words += [f"--db-pass={p.secret(f'{place} --db-pass=X')}", "-u", f"a:{p.secret(f'{place} -u a:X')}"]
    words += ["--user", f"a:{p.secret(f'{place} --user a:X')}", "-p", p.secret(f"{place} -p X")]
    url = f"https://root:{p.secret(f'{place} env URL')}@etcd:2379"
    config = json.dumps({"plugins": [{"k8s_api_token": p.secret(f"{place} CNI_NETWORK_CONFIG", '"')}]}, indent=2)
    return {
        "name": "calico-node",
        "args": words,
        "env": [
            {"name": "FELIX_LOGSEVERITYSCREEN", "value": "Info"},
            {"name": "FELIX_ETCDPASSWORD", "value": p.secret(f"{place} env FELIX_ETCDPASSWORD")},
            {"name": "CALICO_ETCD_ENDPOINTS", "value": url},
            {"name": "CNI_NETWORK_CONFIG", "value": config},
            {"name": "MY_OWN", "value": p.secret(f"{place} env MY_OWN")},
        ],
    }


def notes(p: Planter, place: str) -> dict[str, str]:
    """Annotations, with an object's own ones again in Calico's."""
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    inner = {"annotations": {applied: json.dumps({"x": p.secret(f"{place} nested applied")})}}
    return {
        applied: json.dumps({"spec": {"x": p.secret(f"{place} applied")}}),
        "example.com/note": p.secret(f"{place} of an application"),
        "calico-note": p.secret(f"{place} without a domain"),
        "service.kubernetes.io/auth-token": p.secret(f"{place} of a secret's name"),
        "projectcalico.org/metadata": json.dumps(inner),
        **{f"kubernetes.io/{i}": made(p, f"{place}: {name}") for i, (name, made) in enumerate(TEXTS.items())},
    }


def pod(p: Planter, place: str, namespace: str, *containers: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": "p", "namespace": namespace, "labels": {"k8s-app": "calico-node", "token": "kept"}}
    return {
        "metadata": {**meta, "annotations": notes(p, f"{place} annotation")},
        "spec": {
            "containers": list(containers),
            "initContainers": [container(p, f"{place} init", "install")],
            "volumes": [{"csi": {"volumeAttributes": {"x": p.secret(f"{place} volume")}}}],
        },
        "status": {"message": f"failed: password={p.secret(f'{place} status')}"},
    }


def template(p: Planter, place: str, namespace: str) -> dict[str, Any]:
    inside = pod(p, f"{place} template", "ignored", container(p, place, "web"))
    del inside["metadata"]["namespace"]
    return {"metadata": {"name": "w", "namespace": namespace}, "spec": {"template": inside}}


def of(*items: dict[str, Any]) -> bytes:
    return json.dumps({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}).encode()


def lists(p: Planter) -> Iterator[tuple[str, bytes]]:
    """API lists, whole."""
    kube = pod(
        p, "calico's pod", "kube-system", calicos(p, "calico-node"), container(p, "beside calico-node", "sidecar")
    )
    claims = pod(p, "a tenant's pod", "shop", container(p, "a tenant's calico-node", "calico-node"))
    yield "pods", of(kube, claims)
    yield "daemonsets", of(template(p, "daemonset", "kube-system"))
    yield "deployments", of(template(p, "deployment", "shop"))
    data = {
        "etcd_password": p.secret("configmap password", '"'),
        "cni": json.dumps({"token": p.secret("configmap JSON")}),
    }
    data |= {str(i): made(p, f"configmap: {name}") for i, (name, made) in enumerate(TEXTS.items())}
    yield "configmaps", of({"metadata": {"name": "calico-config", "namespace": "kube-system"}, "data": data})
    peer = {"metadata": {"name": "tor"}, "spec": {"peerIP": "10.0.0.1", "password": p.secret("BGPPeer", "\\")}}
    yield "bgppeers", of(peer)
    said = [
        {"metadata": {"name": n}, "message": made(p, f"event: {n}")} for n, made in [*TEXTS.items(), *TAILS.items()]
    ]
    yield "events", of(*said)


def broken(p: Planter) -> Iterator[tuple[str, bytes]]:
    """Lists that are none, or not at once."""

    def one(place: str) -> dict[str, Any]:
        return pod(p, place, "shop", container(p, place, "web"))

    yield "services", of(one("truncated"))[:-3]
    yield "namespaces", of(one("badly encoded")).replace(b'"name": "p"', b'"name": "\xff\xfe"', 1)
    yield "nodes", of({"kind": "List", "items": [{"kind": "List", "items": [one("nested")]}]})
    yield "ippools", json.dumps(one("a single object")).encode()
    yield "ipamblocks", json.dumps([[one("arrays")]]).encode()
    import yaml

    yield "hostendpoints", yaml.safe_dump({"items": [one("YAML")]}).encode()
    yield "tiers", json.dumps(json.dumps(one("a string"))).encode()
    yield "endpointslices", b'{"items":' * 3000 + of(one("deep")) + b"}" * 3000
    odd = {
        "env": {"X": p.secret("env as a map")},
        "args": p.secret("args as a string"),
        "command": {"a": p.secret("odd")},
    }
    yield "networksets", of({"spec": odd, "metadata": {"annotations": [p.secret("annotations as a list")]}})
    yield (
        "felixconfigurations",
        of({"spec": {"containers": [{"env": [p.secret("env of strings"), [p.secret("odd")]]}]}}),
    )
    text = of({"spec": {"env": [{"name": "X", "value": "W"}]}, "m": "password=W"}).decode()
    yield "bgpfilters", text.replace("W", "\\u0041" + p.secret("escaped", "")).encode()


def described(p: Planter) -> bytes:
    """What kubectl describe prints of a tenant's pod, one of Calico's, and one that only says so."""
    parts = []
    for namespace, name in (("shop", "web"), ("shop", "calico-node"), ("kube-system", "calico-node")):
        at, mine = f"describe {namespace}/{name}", namespace == "kube-system"
        url = f"https://u:{p.secret(f'{at} URL')}@etcd"
        args = ["-felix", "--password", p.secret(f"{at} args"), f"--db-pass={p.secret(at)}"]
        args += [] if mine else [p.secret(f"{at} bare argument")]
        env = [("DB_PASSWORD", p.secret(f"{at} env", " ")), ("FELIX_ETCDADDR" if mine else "FELIX_X", url)]
        env += [("MULTI", f"{p.secret(at)}\n                       NOT: {p.secret(at)}")]
        env += [] if mine else [("IP", p.secret(f"{at} IP"))]
        probe = "exec [/bin/calico-node -felix-live]" if mine else f"exec [sh -c {p.secret(f'{at} probe')}]"
        parts.append(
            f"Name:             {name}\nNamespace:        {namespace}\n"
            f"Annotations:      kubectl.kubernetes.io/last-applied-configuration:\n"
            f'                    {{"x":"{p.secret(f"{at} applied")}"}}\n'
            f"                  example.com/note: {p.secret(f'{at} note')}\n"
            "                  cni.projectcalico.org/podIP: 10.0.0.1/32\nContainers:\n"
            f"  {name}:\n    Image:      calico/node\n    Args:\n"
            + "".join(f"      {a}\n" for a in args)
            + f"    Liveness:   {probe} delay=10s timeout=1s\n    Environment:\n"
            + "".join(f"      {n}:           {v}\n" for n, v in env)
            + "      FELIX_LOGSEVERITYSCREEN:  Info\n      NODENAME:    (v1:spec.nodeName)\n"
            "    Mounts:\n      /x from y (rw)\nEvents:\n"
            f"  Warning  Failed  1m  kubelet  command --token {p.secret(f'{at} event')} failed\n"
        )
    return "\n\n".join(parts).encode()


def bird(p: Planter) -> bytes:
    """Passwords as confd writes them: as they are, without escapes."""
    marks = ("", '"', "\\", '\\"', "' ", ";", "{#", "\n", '";')
    peers = [
        f'protocol bgp Node_{i} {{\n  password "{p.secret(f"bird {mark!r}", mark)}";\n  passive on;\n}}'
        for i, mark in enumerate(marks)
    ]
    return "\n".join(
        [*peers, f'password "{p.secret("bird, ends with a backslash")}\\";', "router id 10.0.0.1;"]
    ).encode()


def files(p: Planter) -> Iterator[Answer]:
    """Texts other than logs, and what the manifest says of them."""
    yield Evidence(Want("bird.cfg", "n1"), bird(p))
    yield Evidence(Want("kubectl-describe-pods"), described(p))
    conf = json.dumps({"kubernetes": {"k8s_api_token": p.secret("cni JSON", '"')}}, indent=1)
    yield Evidence(Want("cni-net.d", "n1"), f"/etc/cni/net.d/x:{conf}\n    token: {token(p, 'cni YAML')}".encode())
    yield Evidence(Want("sysctl-net", "n1"), TEXTS["sysctl"](p, "sysctl").encode())
    ids = ("ip-rule", "ip-neigh", "ip-route", "ss-summary", "nstat", "ip-addr", "ss-bgp", "tc-qdisc", "proc-net-dev")
    for id_, (name, made) in zip(ids, TEXTS.items(), strict=False):
        said = {f: made(p, f"{f}: {name}") for f in ("command", "stderr", "partial")}
        said["command"] += f" -p{p.secret('command: -pX')}"
        yield Evidence(Want(id_, "n1"), b"x\n", exit=1, **said)
    for id_, (name, made) in zip(("bridge-fdb", "ip-route-all", "conntrack"), TEXTS.items(), strict=False):
        yield Missing(id_, made(p, f"why: {name}"), "n1")


@dataclass
class PlantedSource(Source):
    """What is planted, as a source."""

    planter: Planter = field(default_factory=Planter)
    name: str = "planted"

    def __post_init__(self) -> None:
        p = self.planter
        found: list[Answer] = [Evidence(Want(i), text) for i, text in (*lists(p), *broken(p))]
        self.answers = [*found, *logs(p), *files(p)]
        self.name = f"planted --password {p.secret('name')}"

    def nodes(self) -> Sequence[str]:
        return ["n1"]

    def now(self) -> datetime:
        return datetime(2026, 3, 1, 12, tzinfo=UTC)

    def fetch(self, wants: Sequence[Want]) -> Iterator[tuple[Want, Answer]]:
        for answer in self.answers:
            want = answer.want if isinstance(answer, Evidence) else Want(answer.id, answer.node)
            if want in wants:
                yield want, answer
