"""The page for operators has every state, preset, alert and metric, and says of them what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from cdc_hooks.config.choices import Preset
from cdc_hooks.config.policy import PRESETS, Breaker
from cdc_hooks.deliver.ledger import State
from cdc_hooks.ops.deliveries import STATES as DELIVERY_STATES
from cdc_hooks.ops.metrics import STATES, Metrics
from tests.acceptance.test_monitoring import RULES
from tests.promql import labels_of_metrics

PAGE = (Path(__file__).parents[2] / "docs/operating.md").read_text(encoding="utf-8")
PARTS_OF_HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


def section(title: str) -> str:
    """What stands under a heading of the second level."""
    assert PAGE.count(f"\n## {title}\n") == 1
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(title: str) -> dict[str, list[str]]:
    """The further columns of a section's only table, by its first one."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")][1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def test_every_state_of_a_webhook_is_explained():
    assert list(table("States of a webhook")) == [*STATES, "retired", "new"]
    assert all(all(row) for row in table("States of a webhook").values())


def test_every_state_of_a_delivery_is_explained():
    explained = table("States of a delivery")
    assert list(explained) == list(DELIVERY_STATES)
    # Nobody sees parts that have arrived: the view every_delivery leaves them out.
    assert {*get_args(State)} - {"part"} <= explained.keys()
    assert all(all(row) for row in explained.values())


@pytest.mark.parametrize("preset", Preset)
def test_the_page_shows_what_a_preset_stands_for(preset):
    below = section("Presets").partition(f"### {preset.value}\n")[2].partition("\n### ")[0]
    (lines,) = re.findall(r"```yaml\n(.*?)```", below, re.DOTALL)
    assert yaml.load(lines, yaml.BaseLoader) == PRESETS[preset]  # every value as text, as it is written


def test_the_page_shows_each_preset():
    assert re.findall(r"^### (.+)$", section("Presets"), re.MULTILINE) == [preset.value for preset in Preset]


def test_the_numbers_of_the_breaker_are_the_defaults():
    breaker = Breaker()
    text = " ".join(section("The breaker").split())
    assert f"{breaker.failures} failures in a row (`breaker.failures`)" in text
    assert f"{breaker.rate * 100:.0f} % of the requests of the last minute failed (`breaker.rate`" in text
    assert f"after {breaker.pause:.0f} s (`breaker.pause`)" in text
    assert f"up to {breaker.longest_pause / 60:.0f} min (`breaker.longest_pause`)" in text
    assert f"{breaker.drain_rate:.0f} requests a second (`breaker.drain_rate`)" in text


def test_every_alert_has_a_heading_with_what_to_do():
    alerts: list[dict[str, Any]] = [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]
    headings = re.findall(r"^### (\w+)\n\n\S", section("Alerts"), re.MULTILINE)
    assert sorted(headings) == sorted(alert["alert"] for alert in alerts)


def test_every_metric_is_in_the_table_with_its_labels():
    existing: dict[str, set[str]] = {}
    for name, labels in labels_of_metrics(Metrics().registry).items():
        existing[PARTS_OF_HISTOGRAM.sub("", name)] = labels - {"le"}
    told = {
        name.strip("`"): {label.strip() for label in labels.split(",") if label.strip()}
        for name, (labels, _) in table("Metrics").items()
    }
    assert told == existing
