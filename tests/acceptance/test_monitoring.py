"""The alert rules and the dashboard: they ask for metrics that exist, and Prometheus' own tool understands them."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.ops.metrics import OUTCOMES, STATES, Metrics
from tests.conftest import need
from tests.promql import grouped_by, labels_of_metrics, selectors

MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = MONITORING / "cdc-hooks.rules.yml"
RULE_TESTS = MONITORING / "cdc-hooks.rules.test.yml"
DASHBOARD = MONITORING / "cdc-hooks.dashboard.json"

FROM_PROMETHEUS = {"job", "instance"}
EXISTING = labels_of_metrics(Metrics().registry)
METRICS = {**EXISTING, "up": set()}
FIXED_WORDS = {
    ("cdc_hooks_webhook_state", "state"): STATES,
    ("cdc_hooks_deliveries_total", "outcome"): OUTCOMES,
    ("cdc_hooks_attempts_total", "outcome"): ("delivered", "4xx", "5xx", *Failure),
    ("cdc_hooks_notices_total", "outcome"): ("sent", "failed"),
}


def wrong_in(expression: str) -> list[str]:
    """What an expression asks for and does not exist: metrics, labels, fixed words."""
    wrong, known = [], set(FROM_PROMETHEUS)
    found = selectors(expression)
    if not found:
        return ["it reads no metric"]
    for metric, matchers in found:
        if metric not in METRICS:
            wrong.append(f"there is no metric {metric}")
            continue
        labels = METRICS[metric] | FROM_PROMETHEUS
        known |= labels
        for one in matchers:
            words = FIXED_WORDS.get((metric, one.label))
            if one.label not in labels:
                wrong.append(f"{metric} has no label {one.label}")
            elif words and "$" not in one.value and not any(map(one.chooses, words)):
                wrong.append(f"{metric} never has {one.label}{one.operator}{one.value}")
    return wrong + [f"no metric in it has the label {label}" for label in sorted(grouped_by(expression) - known)]


def promtool(*arguments: str | Path) -> None:
    need("prometheus", shutil.which("promtool"))
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("cdc_hooks_lag > 1", "there is no metric cdc_hooks_lag"),
        ('cdc_hooks_lag_seconds{hook="w"}', "cdc_hooks_lag_seconds has no label hook"),
        ('cdc_hooks_webhook_state{state=~"shut|gone"}', "cdc_hooks_webhook_state never has state=~shut|gone"),
        ("sum by (webhook) (cdc_hooks_leading)", "no metric in it has the label webhook"),
        ("vector(1)", "it reads no metric"),
    ],
)
def test_what_is_wrong_in_an_expression_is_seen(expression, complaint):
    assert wrong_in(expression) == [complaint]


# -- alert rules --------------------------------------------------------------------------------------------------


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def rule_tests() -> Iterator[tuple[str, list[str], list[str]]]:
    """An alert's name; the series that are given; the series of the alert that must be there then."""
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        given = [one["series"] for one in test["input_series"]]
        for one in test["promql_expr_test"]:
            (name,) = re.findall(r'alertname="(\w+)"', one["expr"])
            yield name, given, [sample["labels"] for sample in one.get("exp_samples", [])]


def test_promtool_finds_nothing_wrong_with_the_rules():
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    promtool("test", "rules", RULE_TESTS)


def test_the_rules_ask_for_metrics_that_exist():
    assert {alert["alert"]: wrong for alert in alerts() if (wrong := wrong_in(alert["expr"]))} == {}


def test_each_alert_says_how_bad_it_is_and_what_to_do():
    names = [alert["alert"] for alert in alerts()]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    for alert in alerts():
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}, alert["alert"]
        assert alert["labels"].keys() == {"severity"}
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description"}
        assert all(text.strip() for text in alert["annotations"].values())


def test_each_alert_has_a_test_that_makes_it_fire_and_one_that_does_not():
    names = {alert["alert"] for alert in alerts()}
    assert {name for name, _, firing in rule_tests() if firing} == names
    assert {name for name, given, firing in rule_tests() if len(given) > len(firing)} == names


def test_the_series_of_the_rule_tests_are_such_as_exist():
    written = {series for _, given, _ in rule_tests() for series in given}
    assert {one: wrong for one in written if (wrong := wrong_in(one))} == {}
    for metric, matchers in itertools.chain.from_iterable(map(selectors, written)):
        assert {one.label for one in matchers} == METRICS[metric] | FROM_PROMETHEUS, metric


def test_the_words_of_an_alert_name_labels_that_it_has():
    labels: dict[str, set[str]] = {}
    for name, _, firing in rule_tests():
        labels.setdefault(name, set()).update(*(re.findall(r'(\w+)="', one) for one in firing))
    for alert in alerts():
        text = " ".join(alert["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= labels[alert["alert"]], alert["alert"]


# -- dashboard ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows are not among them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions_of(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels_of(dashboard) for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_that_exist(dashboard):
    queries = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    for query in queries:
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert wrong_in(f"sum by ({label}) ({selector})") == [], query
    assert {one: wrong for one in expressions_of(dashboard) if (wrong := wrong_in(one))} == {}


def test_every_metric_is_on_the_dashboard(dashboard):
    """But for those of the process, of which a few do."""
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", one.metric) for text in expressions_of(dashboard) for one in selectors(text)
    }
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRICS if name.startswith("cdc_hooks_")}
    assert ours - shown == set()


def test_every_expression_of_the_dashboard_parses(dashboard, tmp_path):
    variables = {one["name"] for one in dashboard["templating"]["list"]} - {"datasource"}

    def filled(expression: str) -> str:
        text = expression.replace("$__rate_interval", "5m")
        assert set(re.findall(r"\$(\w+)", text)) <= variables, expression
        return re.sub(r"\$\w+", ".*", text)

    rules = [{"record": f"panel:{n}", "expr": filled(one)} for n, one in enumerate(expressions_of(dashboard))]
    path = tmp_path / "dashboard.rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


def test_every_panel_says_what_it_shows(dashboard):
    for panel in panels_of(dashboard):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references)) > 0, panel["title"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]), panel["title"]
    titles = Counter(panel["title"] for panel in dashboard["panels"])
    assert [title for title, count in titles.items() if count > 1] == []


def test_panels_do_not_collide(dashboard):
    ids = Counter(panel["id"] for panel in dashboard["panels"])
    assert [number for number, count in ids.items() if count > 1] == []
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, f"{panel['title']} covers {taken[cell]}"
            taken[cell] = panel["title"]


def test_the_dashboard_can_be_chosen_for(dashboard):
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "job", "instance", "webhook"]
    assert dashboard["schemaVersion"] >= 38  # Grafana 10
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            for metric, matchers in selectors(target["expr"]):
                chosen = {one.label for one in matchers if one.value == f"${one.label}"}
                assert chosen == FROM_PROMETHEUS | ({"webhook"} & METRICS[metric]), panel["title"]
