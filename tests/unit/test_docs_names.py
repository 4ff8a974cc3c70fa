"""What the pages name exists: each command line parses, each key, event of the log, metric and link is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from cdc_hooks.cli import main
from cdc_hooks.config.keys import keys_at
from cdc_hooks.ops.metrics import Metrics
from tests.promql import labels_of_metrics

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = [ROOT / "config.example.yaml", *sorted((ROOT / "monitoring").glob("*.yml"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (*PAGES, *OTHERS)}
SOURCE = "\n".join(
    path.read_text(encoding="utf-8")
    for place, kind in (("cdc_hooks", "py"), ("sql", "sql"), ("bench", "py"), ("tests", "py"))
    for path in sorted((ROOT / place).rglob(f"*.{kind}"))
    if path != Path(__file__)
)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEXT = "key fingerprint"
"""What a fingerprint is made over: no command."""
NOT_COMMANDS = {"daemon"}
"""What follows the program's name in a sentence."""


def prose(text: str) -> str:
    return FENCED.sub("", text)


def in_code(text: str) -> Iterator[str]:
    """What stands between backticks, in one line."""
    return (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(text)))


def command_lines(text: str) -> Iterator[str]:
    """What follows the program's name: in blocks of shell, and in backticks."""
    for _, block in FENCED.findall(text):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if found := re.match(r"\s*(?:\$ |\(?umask 077; )?(?:\S*/bin/)?cdc-hooks ([a-z]+(?![a-z:]).*)", line):
                yield re.split(r"\s{2,}|\s[|>]\s", found[1])[0]
    yield from (one.removeprefix("cdc-hooks ") for one in in_code(text) if re.match(f"cdc-hooks (?!{TEXT})", one))


def wrong_with(line: str) -> str | None:
    """Why the program would not understand it."""
    words = shlex.split(line.removesuffix(")"), comments=True)
    words = [re.sub(r"^(now|TIME)\|.*", "now", word) for word in words]
    command: click.Command = main
    context = click.Context(main, info_name="cdc-hooks")
    while isinstance(command, click.Group):
        if not words:
            return None
        found = command.get_command(context, words[0])
        if found is None:
            return f"there is no command {words[0]}"
        command, words = found, words[1:]
    if not words:
        return None  # it is talked about, not shown
    try:
        command.make_context(command.name, list(words), parent=context)
    except click.ClickException as error:
        return error.format_message()
    return None


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("resume w --from 2h", None),
        ("deliveries resend 4711 # one", None),
        ("status", None),
        ("deliveries", None),
        ("resumes w", "there is no command resumes"),
        ("deliveries send 1", "there is no command send"),
        ("pause w --why x", "--why"),
        ("deliveries list --state lost", "Invalid value for '--state'"),
    ],
)
def test_what_is_wrong_in_a_command_line_is_seen(line, wrong):
    said = wrong_with(line)
    assert said == wrong if wrong is None else wrong in (said or "")


@pytest.mark.parametrize("page", TEXTS)
def test_each_command_line_parses(page):
    lines = set(command_lines(TEXTS[page]))
    assert {line: wrong for line in sorted(lines) if (wrong := wrong_with(line))} == {}


def test_the_command_lines_are_found():
    assert len({line for text in TEXTS.values() for line in command_lines(text)}) > 35


def test_the_commands_that_alerts_and_the_example_name_are_there():
    rules = yaml.safe_load(TEXTS["monitoring/cdc-hooks.rules.yml"])
    alerts = [rule["annotations"]["description"] for group in rules["groups"] for rule in group["rules"]]
    text = "\n".join((*alerts, TEXTS["config.example.yaml"]))
    for first, second in re.findall(r"(?<![/\w.-])(?<!-u )cdc-hooks +([a-z]+)(?: +([a-z]+))?", text):
        if first in NOT_COMMANDS:
            continue
        group = main.commands[first]
        assert not isinstance(group, click.Group) or second in {"", *group.commands}, f"cdc-hooks {first} {second}"


OF_OTHERS = {"wal_level", "synchronous_standby_names"}
SECTIONS = set(keys_at(())) | set(keys_at(("webhooks", "w")))


@pytest.mark.parametrize("page", TEXTS)
def test_each_key_of_the_configuration_is_one(page):
    named = {one for one in in_code(TEXTS[page]) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", one)}
    for one in sorted(named):
        first, *rest = one.split(".")
        if first in SECTIONS and first != "tables":
            roots = [place for place in ((first,), ("webhooks", "w", first)) if keys_at(place)]
            assert any(rest[0] in keys_at(place) for place in roots), one


@pytest.mark.parametrize("page", TEXTS)
def test_each_word_with_an_underscore_is_in_the_source(page):
    """Events of the log, outcomes, columns: whatever it is, some line has it."""
    words = {one for one in in_code(TEXTS[page]) if re.fullmatch(r"[a-z]+(_[a-z]+)+", one)}
    words -= {*OF_OTHERS, *labels_of_metrics(Metrics().registry)}
    assert sorted(word for word in words if not re.search(rf"\b{word}\b", SOURCE)) == []


@pytest.mark.parametrize("page", TEXTS)
def test_each_metric_exists(page):
    metrics = labels_of_metrics(Metrics().registry)
    named = set(re.findall(r"\bcdc_hooks_[a-z_]+(?:_total|_seconds(?:_\w+)?|_bytes)\b", TEXTS[page]))
    known = {*metrics, *(re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics)}
    assert sorted(named - known) == []


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [path.relative_to(ROOT).as_posix() for path in PAGES])
def test_each_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(TEXTS[page])):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target
