"""What looks like a secret in any text: names with their values, headers, URLs, keys of clouds, private keys.

There are two dialects: a text is read line by line; in an API list, which stays JSON, a secret ends with the string
that it stands in, and names of fields are left to those who know the objects (labels and selectors are no secrets).
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple


class Rule(NamedTuple):
    """What is counted, the words at which it is tried, the pattern from there on, and what must stand before.

    Anchors are looked for in lower case, which keeps every byte's place, unless a rule is ``cased``. The secret is the
    pattern's last group and begins in the group of ``before`` where that has one; ``word`` is a group of bare words.
    """

    what: str
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    before: re.Pattern[bytes] | None = None
    cased: bool = False
    holds: Callable[[bytes], bool] | None = None


class _Dialect(NamedTuple):
    """How a text is written: quotes, characters of quoted values and of bare words, any one, ends of lines."""

    quote: bytes
    inside: bytes
    bare: bytes
    any: bytes
    newline: bytes

    @property
    def word(self) -> bytes:
        return rb"(?:" + self.bare + rb"){1,4000}"

    @property
    def value(self) -> bytes:
        """A quoted value up to its closing quote, or to the line's end where none closes it; or a bare word."""
        closed = rb"(?P<secret>" + self.inside + rb"{1,4000}?)(?<!\\)(?P=q)(?!\w)"
        quoted = rb"(?P<q>" + self.quote + rb")(?:" + closed + rb"|(?P<rest>" + self.inside + rb"{1,4000}))"
        return rb"(?:" + quoted + rb"|(?!" + self.quote + rb")(?P<word>" + self.word + rb"))"

    @property
    def equals(self) -> bytes:
        """What stands between a name and its value."""
        return rb"(?:" + self.quote + rb")?(?:\[?\w{0,20}\])?" + _GAP + rb"(?:=>|->|:=|=(?!=)|%3d|:(?!:))" + _GAP


_GAP = rb"(?:[ \t]|\\+t){0,8}"
_PREFIX = (
    rb"(?:\d{4}-\d\d-\d\dt\S{9,30} std(?:out|err) [fp] |\[pod/\S{1,200}\] |[\w.-]{3,100} [\w.-]{3,60} |\{\"log\":\")?"
)
"""What a container runtime, kubectl, stern or Docker puts before each line of a log."""

_TEXT = _Dialect(
    quote=rb"\\*[\"'`]",
    inside=rb"[^\r\n]",
    bare=rb"[^\s\"'`\\]|\\+(?![\\\"'`])|(?<=[\w\\])\\*[\"'`](?=\w)",
    any=rb"[\s\S]",
    newline=rb"(?:(?:\\n\"[^\r\n]{0,200})?\r?\n" + _PREFIX + rb"|\\+n)",
)
_JSON = _Dialect(
    quote=rb"(?:\\+[\"'`]|['`])",
    inside=rb"(?:[^\"\\]|\\.)",
    bare=rb"[^\s\"'`\\]|\\\\|\\[/bfu]|(?<=\w)(?:\\\"|['`])(?=\w)",
    any=rb"(?:[^\"\\]|\\.)",
    newline=rb"\\+n",
)

_OWNER = (
    rb"(?:api|access|secret|private|client|account|shared|signing|encryption|master|auth|fastopen|ssh|license)"
    rb"[_-]?(?:access[_-]?)?"
)
"""Whose keys are secret; ``key=`` alone is any key of a map."""

_WORDS = (
    rb"pass(?:word|wd|phrase|code)s?|(?<!by)(?<!com)(?<!mark)pass|pwd|secret|token|credentials?|cookie"
    rb"|(?<![a-z0-9])(?:pw|sig)|(?<![a-z])(?:auth|otp|csrf|jwt)|psk|signature|session[_-]?id|connection[_-]?string|webhook[_-]?url"
)
_KEY = rb"key(?:[_-]?id)?"
_ENDING = rb"(?:[_-]?(?:\d{1,4}|value|text|string|plain|hash|b64|base64|data))?"
_NAMES: tuple[tuple[tuple[bytes, ...], bytes, bytes], ...] = (
    (
        tuple(
            b"pass pwd secret token credential cookie pw sig auth otp csrf jwt psk session connection webhook".split()
        ),
        rb"",
        rb"(?:" + _WORDS + rb")" + _ENDING,
    ),
    ((b"key",), _OWNER, _KEY + _ENDING),
)
"""Names of secrets: anchors, what stands before the anchor, the rest of the name."""

SECRET_NAME = re.compile(f"(?:{_WORDS.decode()}|{(_OWNER + _KEY).decode()}){_ENDING.decode()}$", re.IGNORECASE)
"""A field's name that ends so holds a secret: ``dbPassword``, ``client_secret``, not ``secretName``."""


def _named(d: _Dialect) -> Iterator[Rule]:
    """A secret by its name: assigned, an option's, an element's, a list."""
    block = (
        rb"[|>][+-]?[ \t]{0,8}" + d.newline + rb"(?P<i> {1,40})(?P<secret>" + d.inside + rb"{1,4000}?(?:" + d.newline
    )
    block += rb"(?P=i)" + d.inside + rb"{0,4000}?){0,100})(?=" + d.newline + rb"|\"|\Z)"
    listed = rb"\[(?P<secret>(?!\])" + d.inside + rb"{1,4000}?)\]"
    next_ = rb"(?:[ \t]{1,4}|" + d.quote + rb"[ \t]{0,4},?\s{0,40})"
    value = rb"(?:" + d.quote + rb")?[ \t]{1,4}value[ \t]{0,2}=[ \t]{0,2}"
    line = rb"(?:" + d.quote + rb")?[ \t]{0,4}" + d.newline + rb"[ \t]{0,40}-[ \t]{1,4}"
    for anchors, owner, name in _NAMES:
        rule = partial(Rule, "passwords and tokens", anchors)
        owned = re.compile(owner + rb"\Z") if owner else None
        option = re.compile(rb"(?<![\w-])--?[\w.-]{0,40}?" + owner + rb"\Z")
        element = re.compile(rb"<[\w:.-]{0,40}?" + owner + rb"\Z")
        yield rule(re.compile(name + d.equals + d.value), owned)
        yield rule(re.compile(name + d.equals + listed), owned)
        yield rule(re.compile(name + d.equals + block), owned)
        yield rule(re.compile(name + value + d.value), owned)
        yield rule(re.compile(name + next_ + d.value), option)
        yield rule(re.compile(name + line + d.value), option)
        yield rule(re.compile(name + rb">(?P<secret>[^<>\"\\\r\n]{1,4000})<"), element)


def _by_place(d: _Dialect) -> Iterator[Rule]:
    """A secret by what stands before it: a word, a user's name, an option of a client."""
    rule = partial(Rule, "passwords and tokens")
    blank = rb"(?:[ \t]|\\+t){1,4}"
    quoted = rb"(?:password|passwd|passphrase|pwd|token)" + blank + rb"(?=" + d.quote + rb")"
    said = rb"pass(?:word|wd|phrase)(?:" + blank + rb"is:?)?" + blank + rb"[({]?[ \t]{0,2}(?P<word>" + d.word + rb")"
    of = rb"pass(?:word|phrase) (?:for|of) [^:\\\"\r\n]{1,60}: {0,4}"
    user = re.compile(rb"(?:neighbor|login|user(?:name)?)[ \t]{1,4}\S{1,100}[ \t]{1,4}\Z")
    next_ = rb"(?:[ \t=]{1,4}|" + d.quote + rb"[, \t]{1,4})?"
    login = rb"(?<![\w-])(?:-u|--user|--proxy-user)" + next_ + rb"(?:" + d.quote + rb")?[^\s:\"'`\\/]{1,100}:"
    clients = (b"mysql", b"mariadb", b"sshpass", b"docker login", b"mongo", b"redis", b"ldap", b"az login")
    yield rule((b"pass", b"pwd", b"token"), re.compile(quoted + d.value))
    yield rule((b"pass",), re.compile(said), holds=_is_no_word)
    yield rule((b"pass",), re.compile(of + d.value))
    yield rule((b"password",), re.compile(rb"password[ \t]{1,4}(?:\d[ \t]{1,4})?" + d.value), user)
    yield rule((b"identified by",), re.compile(rb"identified by[ \t]{1,4}(?:password[ \t]{1,4})?" + d.value))
    yield rule((b"-u", b"--u", b"--proxy-u"), re.compile(login + rb"(?P<secret>" + d.word + rb")"))
    yield rule(clients, re.compile(d.inside + rb"{4,300}?[ \t\"']-[paw]" + next_ + d.value))
    yield rule((b"md5keys:",), re.compile(rb"md5keys:(?P<secret>" + d.word + rb")"))


def _is_no_word(secret: bytes) -> bool:
    """Whether this is no word of a sentence, such as "password authentication failed"."""
    return re.fullmatch(rb"[A-Za-z][a-z-]*[^\w]*", secret) is None


def _in_headers(d: _Dialect) -> Iterator[Rule]:
    """What HTTP's headers carry."""
    token = partial(Rule, "tokens")
    one = rb"[^\s\"'`\\,]{1,8000}"
    scheme = rb"authorization(?:" + d.quote + rb")?" + _GAP + rb"[:=]" + _GAP + rb"\[?(?:" + d.quote + rb")?"
    digest = rb"digest[ \t]{1,4}(?P<rest>" + d.inside + rb"{1,4000})"
    known = rb"(?:basic|bearer|negotiate|ntlm|token|apikey)[ \t]{1,4}(?P<word>" + one + rb")"
    unknown = rb"(?P<secret>" + one + rb"(?:[ \t]" + one + rb")?)"
    yield token((b"authorization",), re.compile(scheme + rb"(?:" + digest + rb"|" + known + rb"|" + unknown + rb")"))
    yield token((b"bearer",), re.compile(rb"\bbearer[ :]{1,3}(?P<secret>[\w.~+/=-]{8,8000})"))
    yield token((b"basic ",), re.compile(rb"\bbasic {1,3}(?P<secret>[\w+/]{8,8000}={0,2})"), holds=_is_login)


def _is_login(secret: bytes) -> bool:
    """Whether this is what HTTP's basic authentication sends; "basic" is a word of prose too."""
    try:
        return b":" in b64decode(secret + b"=" * (-len(secret) % 4), validate=True)
    except Error:
        return False


def _in_addresses(d: _Dialect) -> Iterator[Rule]:
    """Passwords in URLs and in the addresses of databases; a port and an image's digest are none."""
    url = partial(Rule, "passwords in URLs")
    port = rb"(?!\d{1,5}(?:[/?#,\s\"'\\]|$))"
    password = rb"[^\s:/@\"'<>\\]{0,200}:" + port + rb"(?P<secret>(?:" + d.bare + rb"){1,400})"
    user = re.compile(rb"(?<![\w/.-])[\w.-]{1,60}:(?P<secret>[^\s\"'@/\\]{1,120})\Z")
    yield url((b"://",), re.compile(rb"://(?:" + password + rb"|(?P<word>[^\s:/@\"'<>\\]{16,400}))@(?!sha256:)"))
    yield url((b"@tcp(", b"@unix(", b"@("), re.compile(rb"(?=@)"), user)
    yield url((b"jdbc:",), re.compile(rb"jdbc:\w{1,20}:\w{1,20}:[^/\s\"]{1,100}/(?P<secret>[^@\s\"\\]{1,200})@"))


def _keys(d: _Dialect) -> Iterator[Rule]:
    """Private keys up to their end, or as far as one may reach; and hashes of passwords."""
    begin = rb"-----begin [a-z0-9 ]{0,40}private key(?: block)?-----"
    body = rb"(?P<secret>(?:(?!-----(?:end|begin) )" + d.any + rb"){1,20000})"
    yield Rule("private keys", (b"-----begin",), re.compile(begin + body))
    crypt = rb"(?P<secret>\$(?:1|5|6|2[abxy]|apr1|y|argon2\w{0,2})\$[\w./$=,+-]{16,400})"
    yield Rule("passwords and tokens", (b"$",), re.compile(crypt))


_FORMS: tuple[tuple[tuple[bytes, ...], bytes], ...] = (
    ((b"AKIA", b"ASIA", b"AROA", b"AIDA", b"AGPA", b"ABIA"), rb"(?<![A-Z0-9])\w{4}[A-Z0-9]{16}"),
    ((b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"gh\w_\w{30,255}"),
    ((b"github_pat_",), rb"github_pat_\w{20,255}"),
    ((b"glpat-", b"glptt-", b"gldt-", b"glrt-", b"glft-", b"glsoat-"), rb"gl[a-z]+-[\w-]{16,}"),
    ((b"xox",), rb"xox[a-z]-[\w-]{10,}"),
    ((b"AIza", b"ya29."), rb"(?:AIza|ya29\.)[\w-]{20,}"),
    ((b"sk_live", b"sk_test", b"rk_live", b"rk_test"), rb"[rs]k_\w{4}_\w{10,}"),
    ((b"SG.",), rb"SG\.[\w-]{16,}\.[\w-]{16,}"),
    ((b"npm_", b"hf_"), rb"\w{2,3}_\w{30,}"),
    ((b"pypi-",), rb"pypi-[\w-]{16,}"),
    ((b"SK", b"AC"), rb"(?<!\w)(?:SK|AC)[0-9a-z]{32}(?!\w)"),
    ((b"sk-",), rb"(?<![\w-])sk-[\w-]{20,}"),
    ((b"hvs.", b"hvb.", b"hvr."), rb"hv\w\.[\w-]{20,}"),
    ((b"dop_v1_", b"doo_v1_", b"dor_v1_"), rb"do\w_v1_[0-9a-f]{40,}"),
    ((b"sq0csp-", b"sq0atp-"), rb"sq0\w{3}-[\w-]{20,}"),
    ((b"AGE-SECRET-KEY-1",), rb"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    ((b"eyJ",), rb"(?<![A-Za-z0-9])eyJ[\w-]{17,8000}(?:\.[\w-]{0,8000}){0,4}"),
    ((b"LS0tLS1CRUdJTi",), rb"LS0tLS1CRUdJTi(?!BDRVJU|BQVUJMSUM)[\w+/=]{20,}"),  # -----BEGIN, neither CERT nor PUBLIC
)
"""How keys and tokens begin that tell by themselves what they are, and what they look like."""


def _by_form() -> Iterator[Rule]:
    for anchors, form in _FORMS:
        yield Rule("tokens", anchors, re.compile(rb"(?P<secret>" + form + rb")"), cased=True)
    yield Rule("tokens", (b"hooks.slack.com/",), re.compile(rb"hooks\.slack\.com/(?P<secret>[\w/-]{10,})"))
    bot, mail = re.compile(rb"(?<!\d)(?P<secret>\d{8,10})\Z"), re.compile(rb"(?<!\w)(?P<secret>[0-9a-f]{32})\Z")
    yield Rule("tokens", (b":AA",), re.compile(rb":AA[\w-]{30,}"), bot, cased=True)
    yield Rule("tokens", (b"-us",), re.compile(rb"-us\d{1,2}"), mail)


def _printed(d: _Dialect) -> Iterator[Rule]:
    """What the structure of objects tells, where they are printed in a text."""
    quote, blank = rb"(?:" + d.quote + rb")?", rb"(?:[ \t]|" + d.newline + rb"){0,80}"
    of = quote + rb"\s{0,8}:\s{0,8}"
    pair = rb"(?<![a-z])name" + of + quote + rb"[\w./-]{1,200}" + quote + rb",?" + blank + quote + rb"value" + of
    applied = rb"last-applied-(?:configuration|spec)" + d.equals + rb"(?:[|>][+-]?" + blank + rb")?"
    note = partial(Rule, "annotations", (b"last-applied-",))
    yield Rule("environment values", (b"name",), re.compile(pair + d.value))
    yield note(re.compile(applied + rb"(?P<secret>\{" + d.inside + rb"{1,200000})"))
    yield note(re.compile(applied + rb"(?!\{)" + d.value))


def _of(d: _Dialect) -> tuple[Rule, ...]:
    return (*_named(d), *_by_place(d), *_printed(d), *_in_headers(d), *_in_addresses(d), *_keys(d), *_by_form())


OF_TEXT, OF_JSON = _of(_TEXT), _of(_JSON)
