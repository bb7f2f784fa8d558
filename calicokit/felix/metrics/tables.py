"""Scrapes of Felix, Typha and kube-controllers as tables: samples, rates of counters, quantiles, and the newest values.

A scrape belongs to a pod, and so to a node. The closing scrape of a recording is none of a series': its time is the
recording's, which is not exactly when it was read, so rates are told between samples of a series only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from calicokit.evidence.model import Evidence
from calicokit.evidence.recordings.recording import PODS
from calicokit.felix.metrics.meaning import meaning, owner
from calicokit.felix.metrics.promql import SECOND, SERIES, Series, codes, histogram_quantile, over_windows
from calicokit.kube.tables import EVIDENCE
from calicokit.parsers.base import Parsed
from calicokit.registry import Given, UnseenError, not_applicable, table
from calicokit.schema import Column, Schema, cells

COMPONENTS = {
    "felix-metrics": "felix",
    "typha-metrics": "typha",
    "kube-controllers-metrics": "kube-controllers",
}
"""Row of the catalog → the component that was scraped."""

POD_OF = {"felix": "calico-node", "typha": "typha", "kube-controllers": "kube-controllers"}
"""Component → what ``health.pods`` calls its pods."""

SCRAPES = tuple(COMPONENTS)
SERIES_OF = tuple(f"{i}+series" for i in SCRAPES)
MINUTE = 60 * SECOND
QUANTILES = (0.5, 0.9, 0.99)
"""What Calico's summaries tell (libcalico-go/lib/prometheus/summary.go)."""

TARGET = (
    Column("component", "category", "felix, typha or kube-controllers: what was scraped"),
    Column("node", "category", "node of the pod; null where unknown"),
    Column("pod", "category", "pod; null where unknown"),
)

SAMPLES = Schema(
    "felix.samples",
    "Metric samples of Felix, Typha and kube-controllers: single scrapes and series.",
    (
        Column("time", "time", "scrape time; for a single scrape the time of the recording"),
        *TARGET,
        Column("metric", "category", "name as printed, with _sum, _count, _bucket …"),
        Column("family", "category", "metric family"),
        Column("type", "category", "counter, gauge, summary or histogram"),
        Column("labels", "category", "labels as printed between the braces; empty for none"),
        Column("value", "float", "value, in the unit of felix.metrics"),
        Column("quantile", "float", "label quantile of a summary's sample"),
        Column("le", "float", "label le: upper bound of a histogram's bucket"),
        Column("series", "bool", "a sample of a series; false for a single scrape"),
        Column("own", "bool", "the component's own metric; one binary also exports the others' metrics, as zeros"),
        Column("evidence", "category", EVIDENCE.meaning),
    ),
    key=("time", *SERIES, "series"),
)

SCRAPED = Schema(
    "felix.scrapes",
    "Scrape targets: number of scrapes and their time range.",
    (
        *TARGET,
        Column("scrapes", "int", "scrapes, single and in a series", "scrapes"),
        Column("series", "int", "scrapes of a series; 0: rates are unknown", "scrapes"),
        Column("first", "time", "first of the series; null without one"),
        Column("last", "time", "last scrape"),
        Column("interval", "float", "usual interval between scrapes of the series", "s"),
        Column("samples", "int", "total samples", "samples"),
    ),
    key=("component", "node", "pod"),
)

FAMILIES = Schema(
    "felix.families",
    "Metric families with the exporters' HELP texts.",
    (
        Column("component", "str", "component that was scraped"),
        Column("family", "str", "name"),
        Column("type", "str", "counter, gauge, summary or histogram"),
        Column("help", "str", "HELP text of the exporter"),
    ),
    key=("component", "family"),
)

RATES = Schema(
    "felix.rates",
    "Counters between the samples of a series: growth and rate, of the components' own metrics. A counter that fell "
    "was reset by a restart, and has grown by what it shows, as in Prometheus' irate and increase.",
    (
        Column("time", "time", "sample; growth is since the previous one"),
        *TARGET,
        Column("metric", "category", "counter, or the _sum or _count of a summary or histogram"),
        Column("family", "category", "metric family"),
        Column("labels", "category", "labels as printed between the braces"),
        Column("increase", "float", "growth since the previous sample, in the metric's unit"),
        Column("seconds", "float", "time since the previous sample", "s"),
        Column("rate", "float", "growth per second since the previous sample", "1/s"),
        Column(
            "rate_1m", "float", "Prometheus' rate over the preceding minute; null with a single sample in it", "1/s"
        ),
        Column("reset", "bool", "the counter fell: the process restarted"),
    ),
    key=("time", *SERIES),
)

TIMES = Schema(
    "felix.quantiles",
    "Quantiles of summaries and histograms at each scrape, of the components' own metrics.",
    (
        Column("time", "time", "scrape"),
        *TARGET,
        Column("family", "category", "summary or histogram, without _sum, _count, _bucket"),
        Column("labels", "category", "labels without quantile and le"),
        Column("type", "category", "summary or histogram"),
        Column(
            "p50",
            "float",
            "median: a summary's own, of about the last ten minutes, null when idle; a histogram's of the observations",
        ),
        Column("p90", "float", "90th percentile, as p50"),
        Column("p99", "float", "99th percentile, as p50"),
        Column(
            "observations",
            "float",
            "observations since the previous sample; for a first or single scrape since the start",
        ),
        Column("average", "float", "mean of those observations; null when none"),
        Column("since_before", "bool", "true: since the previous sample; false: since the start of the process"),
        Column("series", "bool", "a sample of a series; false for a single scrape"),
    ),
    key=("time", "component", "node", "pod", "family", "labels", "series"),
)

METRICS = Schema(
    "felix.metrics",
    "Every metric of each component: newest value, rate and meaning.",
    (
        *(Column(c.name, "str", c.meaning) for c in TARGET),
        Column("metric", "str", "name as printed"),
        Column("labels", "str", "labels as printed between the braces"),
        Column("type", "str", "counter, gauge, summary or histogram"),
        Column("value", "float", "newest value, in its unit"),
        Column("unit", "str", "unit of the value"),
        Column("rate", "float", "counters: growth per second over the whole series; null without a series", "1/s"),
        Column("first", "time", "first sample of the series; null without one"),
        Column("last", "time", "last scrape"),
        Column("means", "str", "what it means"),
        Column("normal", "str", "normal range; empty where any value is normal"),
        Column("since", "str", "first version that exports it"),
        Column("source", "str", "source of the meaning: a path in projectcalico/calico, or the exporter's HELP"),
    ),
    key=("component", "node", "pod", "metric", "labels"),
)

GLOSSARY = Schema(
    "felix.glossary",
    "Glossary of metrics with their lowest and highest value among the pods; those that grew come first.",
    (
        Column("component", "str", "component"),
        Column(
            "metric", "str", "name; of summaries and histograms the family, whose value is the mean since the start"
        ),
        Column("type", "str", "counter, gauge, summary or histogram"),
        Column("lowest", "float", "lowest newest value, summed over labels"),
        Column("highest", "float", "highest newest value"),
        Column("unit", "str", "unit of the value"),
        Column(
            "rate",
            "float",
            "highest growth per second over the series; for summaries and histograms, observations per second",
            "1/s",
        ),
        Column("means", "str", "what it means"),
        Column("normal", "str", "normal range; empty where any value is normal"),
        Column("since", "str", "first version that exports it"),
        Column("source", "str", "where that is known from"),
    ),
    key=("component", "metric"),
)

NO_SERIES = "not sampled over time: use `calicokit capture --samples N`, or a Prometheus server"

_PROXIED = re.compile(r"/pods/(?:https?:)?([a-z0-9.-]{1,253}?)(?::\w{1,15})?/proxy/")
OBSERVATIONS = "observations"
_BOUND = r'(?:^|,)(?:quantile|le)="[^"]*"'


# ---- whose scrape it is


class Targets:
    """Node and pod of each scrape, as far as ``health.pods`` or where it stands tells."""

    def __init__(self, pods: pd.DataFrame | None) -> None:
        self.node: dict[str, str] = {}
        self.newest: dict[tuple[str, str | None], str] = {}
        if pods is None:
            return
        known = pods[(pods["phase"] == "Running") & pods["deleted"].isna()].sort_values("created", ascending=False)
        for component, node, pod in cells(known, "component", "node", "pod"):
            self.node[pod] = node
            for place in (node, None):
                self.newest.setdefault((component, place), pod)

    def of(self, component: str, evidence: Evidence) -> tuple[str | None, str | None]:
        """Node and pod: of a pod's folder or address its own, of the rest the newest that runs, as captures keep it."""
        named = evidence.path.removeprefix(PODS).split("/")[0] if evidence.path.startswith(PODS) else None
        if named is None and (match := _PROXIED.search(evidence.command)):
            named = match[1]
        pod = named or self.newest.get((POD_OF[component], evidence.node))
        return evidence.node or (self.node.get(pod) if pod else None), pod


# ---- samples


def _read(texts: Given) -> Iterator[tuple[str, bool, Evidence, Parsed]]:
    for name, given in texts.items():
        for evidence, parsed in given.parsed("prometheus") if given is not None else ():
            yield COMPONENTS[name.removesuffix("+series")], name.endswith("+series"), evidence, parsed


@table(SAMPLES, any_of={"texts": (*SCRAPES, *SERIES_OF)}, wants={"pods": "health.pods"})
def samples(texts: Given, pods: pd.DataFrame | None) -> pd.DataFrame:
    """One row for each sample of each scrape; see :data:`SAMPLES`."""
    targets = Targets(pods)
    frames: list[pd.DataFrame] = []
    said: list[dict[str, object]] = []
    for component, series, evidence, parsed in _read(texts):
        node, pod = targets.of(component, evidence)
        frames.append(parsed.frame)
        said.append(
            {
                "component": component,
                "node": node,
                "pod": pod,
                "evidence": evidence.ref,
                "series": series,
                "scraped": evidence.time,
            }
        )
    return made(frames, said) if frames else SAMPLES.frame()


def made(frames: list[pd.DataFrame], said: list[dict[str, object]]) -> pd.DataFrame:
    """``felix.samples`` of parsed scrapes and what is known of each: target, ``evidence``, ``series``, ``scraped``."""
    sizes = [len(f) for f in frames]
    every = pd.concat(frames, ignore_index=True)
    about = pd.DataFrame(said)
    which = np.repeat(np.arange(len(about)), sizes)
    scraped = pd.to_datetime(about["scraped"], utc=True).astype("datetime64[ns, UTC]")
    frame = every[["value", "quantile", "le"]].copy()
    frame["time"] = every["timestamp"].fillna(scraped.take(which).reset_index(drop=True))
    frame["series"] = about["series"].astype("boolean").take(which).reset_index(drop=True)
    for name in ("component", "node", "pod", "evidence"):
        frame[name] = about[name].astype("str").astype("category").take(which).reset_index(drop=True)
    for name in ("metric", "family", "type", "labels"):
        frame[name] = every[name].astype("category")
    owners = frame["metric"].cat.categories.map(owner).to_numpy(dtype=object)[frame["metric"].cat.codes.to_numpy()]
    component = frame["component"].astype("object").to_numpy()
    frame["own"] = pd.array((owners == "") | (owners == component), dtype="boolean")
    return SAMPLES.take(frame)


@table(SCRAPED, needs={"samples": "felix.samples"})
def scrapes(samples: pd.DataFrame) -> pd.DataFrame:
    """One row for each target; see :data:`SCRAPED`."""
    rows = []
    for (component, node, pod), part in samples.groupby(["component", "node", "pod"], observed=True, dropna=False):
        times = part["time"][part["series"]].drop_duplicates().sort_values()
        rows.append(
            {
                "component": component,
                "node": text_or_none(node),
                "pod": text_or_none(pod),
                "scrapes": len(times) + int((~part["series"]).any()),
                "series": len(times),
                "first": times.min() if len(times) else None,
                "last": part["time"].max(),
                "interval": times.diff().dt.total_seconds().median() if len(times) > 1 else None,
                "samples": len(part),
            }
        )
    return SCRAPED.frame(rows)


def text_or_none(value: object) -> str | None:
    """The text; None for what stands for none, as a group's key does."""
    return value if isinstance(value, str) else None


@table(FAMILIES, any_of={"texts": SCRAPES})
def families(texts: Given) -> pd.DataFrame:
    """One row for each component and metric of the single scrapes; see :data:`FAMILIES`."""
    frames = [
        parsed.tables["prometheus_families"].assign(component=COMPONENTS[name])
        for name, given in texts.items()
        for _, parsed in (given.parsed("prometheus") if given is not None else ())
    ]
    if not frames:
        return FAMILIES.frame()
    every = pd.concat(frames).drop_duplicates(["component", "family"])
    every["component"] = every["component"].astype("str")
    return FAMILIES.take(every)


@not_applicable(needs={"pods": "health.pods"})
def no_typha(pods: pd.DataFrame) -> Iterator[tuple[str, str | None]]:
    """Where there is no Typha, nobody misses its metrics."""
    if not (pods["component"] == "typha").any():
        yield "typha-metrics", None


# ---- rates

_COUNTS = ("_sum", "_count", "_bucket")


def counters(samples: pd.DataFrame) -> pd.DataFrame:
    """The samples that only ever grow: counters, and the sums and counts of summaries and histograms."""
    grows = samples["metric"].astype("str").str.endswith(_COUNTS)
    kinds = samples["type"]
    return samples[(kinds == "counter") | (kinds.isin(["summary", "histogram"]) & grows)]


@table(RATES, needs={"samples": "felix.samples"})
def rates(samples: pd.DataFrame) -> pd.DataFrame:
    """One row for each counter and sample but the first; see :data:`RATES`. Buckets are in ``felix.quantiles``."""
    if len(samples) and not samples["series"].any():
        raise UnseenError(NO_SERIES)
    grows = counters(samples[samples["series"] & samples["own"]])
    return rates_of(grows[grows["le"].isna()])


def rates_of(grows: pd.DataFrame) -> pd.DataFrame:
    """``felix.rates`` of samples of counters."""
    series = Series.of(grows, *SERIES)
    increase, seconds = series.steps()
    rows = np.flatnonzero(series.follows)
    fell = np.concatenate(([False], np.diff(series.value) < 0))[: len(series.value)]
    frame = grows.iloc[series.rows[rows]].assign(
        increase=increase[rows],
        seconds=seconds[rows],
        rate=increase[rows] / seconds[rows],
        rate_1m=over_windows(series, series.code[rows], series.time[rows], MINUTE)[1],
        reset=pd.array(fell[rows], dtype="boolean"),
    )
    return RATES.take(frame)


# ---- quantiles


@table(TIMES, needs={"samples": "felix.samples"})
def quantiles(samples: pd.DataFrame) -> pd.DataFrame:
    """One row for each summary or histogram and scrape; see :data:`TIMES`."""
    own = samples[samples["own"] & samples["type"].isin(["summary", "histogram"])]
    if not len(own):
        return TIMES.frame()
    plain = pd.Series(own["labels"].cat.categories).str.replace(_BOUND, "", regex=True).str.lstrip(",")
    own = own.assign(
        labels=pd.Categorical(plain.to_numpy(dtype=object)[own["labels"].cat.codes.to_numpy()]),
        name=own["metric"].astype("str"),
    )
    keys = ["series", "component", "node", "pod", "family", "labels"]
    row = codes(own, *keys)
    frame = own.assign(row=row, at=codes(own.assign(row=row), "row", "time"))
    heads = frame.drop_duplicates("at").set_index("at")[[*keys, "time", "type", "row"]].sort_values(["row", "time"])
    sums = {name: _one(frame, frame["name"].str.endswith(f"_{name}") & frame["le"].isna()) for name in ("sum", "count")}
    now = pd.DataFrame({n: s.reindex(heads.index) for n, s in sums.items()}, index=heads.index)
    first = heads["row"].ne(heads["row"].shift())
    before = now.shift().where(~first, 0.0)
    fell = now["count"] < before["count"]
    grown = now - before.where(~fell, 0.0)
    made = heads.assign(
        observations=grown["count"],
        average=(grown["sum"] / grown["count"]).where(grown["count"] > 0),
        since_before=(~first & ~fell).astype("boolean"),
    )
    for quantile in QUANTILES:
        made[f"p{quantile * 100:.0f}"] = _one(frame, frame["quantile"] == quantile).reindex(made.index)
    _from_buckets(made, frame[frame["le"].notna()], first | fell)
    return TIMES.take(made)


def _one(frame: pd.DataFrame, which: pd.Series[bool]) -> pd.Series[float]:
    """The value of these samples by scrape."""
    found = frame[which].drop_duplicates("at")
    return pd.Series(found["value"].to_numpy(), index=found["at"].to_numpy())


def _from_buckets(made: pd.DataFrame, buckets: pd.DataFrame, alone: pd.Series[bool]) -> None:
    """Fill in the quantiles of histograms, from the growth of their buckets; those ``alone`` have nothing before."""
    for family in buckets["family"].unique() if len(buckets) else ():
        own = buckets[buckets["family"] == family]
        counts = own.pivot_table(index="at", columns="le", values="value", aggfunc="last")
        counts = counts.reindex(made.index[made["family"] == family])
        grown = counts - counts.shift().where(~alone[counts.index], 0.0)
        bounds = counts.columns.to_numpy(dtype=np.float64)
        for quantile in QUANTILES:
            found = histogram_quantile(quantile, bounds, grown.to_numpy(dtype=np.float64))
            made.loc[counts.index, f"p{quantile * 100:.0f}"] = found


# ---- the newest values, in words


@table(METRICS, needs={"samples": "felix.samples"}, wants={"families": "felix.families"})
def metrics(samples: pd.DataFrame, families: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row for each metric, labels and pod; see :data:`METRICS`. Buckets of histograms are left out."""
    own = samples[samples["own"] & samples["le"].isna()]
    if not len(own):
        return METRICS.frame()
    code = codes(own, *SERIES)
    newest = own.assign(code=code).sort_values(["time", "series"], kind="stable").drop_duplicates("code", keep="last")
    watched = own["series"].to_numpy(dtype=bool)
    series = Series.of(own[watched].assign(code=code[watched]), "code")
    spans = pd.DataFrame({"code": code[watched][series.rows], "time": series.time, "total": series.total})
    ends = spans.groupby("code").agg(
        first=("time", "first"), last=("time", "last"), low=("total", "first"), high=("total", "last")
    )
    frame = newest.join(ends[["first"]].assign(rate=_rate(ends)), on="code")
    frame["rate"] = frame["rate"].where(frame.index.isin(counters(newest).index))
    frame["first"] = pd.to_datetime(frame["first"], unit="ms", utc=True).astype("datetime64[ns, UTC]")
    helps = () if families is None else cells(families, "component", "family", "help")
    said = {(c, f): h for c, f, h in helps if isinstance(h, str)}
    words = [meaning(f, said.get((c, f), "")) for c, f in cells(frame, "component", "family")]
    told = {n: [getattr(w, n) for w in words] for n in ("unit", "means", "normal", "since", "source")}
    told["unit"] = _units(frame, told["unit"])
    text = {c.name: frame[c.name].astype("str") for c in METRICS.columns if c.kind == "str" and c.name in frame}
    return METRICS.take(frame.assign(last=frame["time"], **text, **told).sort_values(list(SERIES)))


def _rate(ends: pd.DataFrame) -> pd.Series[float]:
    seconds = (ends["last"] - ends["first"]) / 1000
    return ((ends["high"] - ends["low"]) / seconds).where(seconds > 0)


def _units(frame: pd.DataFrame, units: list[str]) -> list[str]:
    """The unit of each sample: of a summary's count it is how often it was measured."""
    kinds = frame["type"].isin(["summary", "histogram"])
    counts = (kinds & frame["metric"].astype("str").str.endswith("_count")).tolist()
    return [OBSERVATIONS if count else unit for count, unit in zip(counts, units, strict=True)]


@table(GLOSSARY, needs={"metrics": "felix.metrics"})
def glossary(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row for each metric of each component; see :data:`GLOSSARY`."""
    words = ["unit", "means", "normal", "since", "source"]
    timed = metrics["type"].isin(["summary", "histogram"])
    family = metrics["metric"].where(~timed, metrics["metric"].str.replace(r"_(?:sum|count)$", "", regex=True))
    own = metrics.assign(family=family, pod=metrics["pod"].fillna(""), timed=timed)
    plain = own[~own["timed"]].groupby(["component", "pod", "family", "type"])[["value", "rate"]].sum(min_count=1)
    pods = pd.concat([plain.reset_index(), _means(own[own["timed"]])])
    grouped = pods.groupby(["component", "family", "type"])
    made = grouped.agg(lowest=("value", "min"), highest=("value", "max"), rate=("rate", "max")).reset_index()
    told = own[own["unit"] != OBSERVATIONS].drop_duplicates(["component", "family"])[["component", "family", *words]]
    found = made.merge(told, on=["component", "family"], how="left").rename(columns={"family": "metric"})
    moved, counted = found["rate"].fillna(0) > 0, found["highest"].fillna(0) != 0
    rank = found.assign(moved=~moved, counted=~counted).sort_values(["moved", "counted", "component", "metric"])
    return GLOSSARY.take(rank)


def _means(timed: pd.DataFrame) -> pd.DataFrame:
    """The mean since the start of each summary and histogram, and how often it is measured a second."""
    keys = ["component", "pod", "family", "type"]
    sums, counts = (
        timed[timed["metric"].str.endswith(end)].groupby(keys)[["value", "rate"]].sum(min_count=1)
        for end in ("_sum", "_count")
    )
    mean = (sums["value"] / counts["value"]).where(counts["value"] > 0)
    return pd.DataFrame({"value": mean, "rate": counts["rate"]}).reset_index()
