"""What expressions of PromQL ask for: enough to hold them against the metrics that exist."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

_METRIC = re.compile(r"\b(?P<name>(?:cdc_hooks|process|python)_\w+|up)\b(?:\s*\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'\s*(?P<label>\w+)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>[^"]*)"\s*(?:,|$)')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_TEXT = re.compile(r'"[^"]*"')
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


class Matcher(NamedTuple):
    label: str
    operator: str
    value: str

    def chooses(self, value: str) -> bool:
        if "~" in self.operator:
            return (re.fullmatch(self.value, value) is not None) == (self.operator == "=~")
        return (self.value == value) == (self.operator == "=")


class Selector(NamedTuple):
    metric: str
    matchers: tuple[Matcher, ...]


def selectors(expression: str) -> list[Selector]:
    """Every metric that it reads. Fails where the matchers cannot be read."""
    found = []
    for one in _METRIC.finditer(expression):
        matchers, end = [], 0
        text = one["matchers"] or ""
        while end < len(text.rstrip()):
            matcher = _MATCHER.match(text, end)
            assert matcher, f"cannot read the matchers {{{text}}}"
            matchers.append(Matcher(matcher["label"], matcher["operator"], matcher["value"]))
            end = matcher.end()
        found.append(Selector(one["name"], tuple(matchers)))
    return found


def grouped_by(expression: str) -> set[str]:
    """The labels that its aggregations and joins name."""
    lists = _GROUPING.findall(_TEXT.sub('""', expression))
    return {label.strip() for one in lists for label in one.split(",") if label.strip()}


def labels_of_metrics(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The labels of every metric's series, by its full name; also of those that have no series yet."""
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    collectors: Any = registry._collector_to_names
    for collector in collectors:
        labels = set(getattr(collector, "_labelnames", ()))
        if labels:
            for suffix in _SUFFIXES[collector._type]:
                found[collector._name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found
