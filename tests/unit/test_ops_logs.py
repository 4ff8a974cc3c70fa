"""The log's form, and what must never be in it."""

import json
import subprocess
import sys

import pytest

FAILING = """
import logging, warnings
from cdc_hooks.ops import logs

def sign(key):
    raise ValueError("no such digest")

def deliver():
    token = "s3cret" + "-of-a-webhook"
    try:
        sign(token)
    except ValueError as error:
        raise RuntimeError("cannot sign") from error

logs.configure("{level}", "{form}")
import structlog
log = structlog.get_logger()
log.debug("quiet")
log.info("told", webhook="w", count=2)
try:
    deliver()
except RuntimeError:
    log.exception("worker_failed", webhook="w")
    logging.getLogger("asyncio").exception("in a library, %s", "told")
logging.getLogger("asyncio").info("chatter")
"""


def stderr(level, form="json"):
    done = subprocess.run(
        [sys.executable, "-c", FAILING.format(level=level, form=form)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_each_line_is_an_event_as_json():
    lines = [json.loads(line) for line in stderr("info").splitlines()]
    assert [line["event"] for line in lines] == ["told", "worker_failed", "in a library, told"]
    assert [line["level"] for line in lines] == ["info", "error", "error"]
    assert lines[0].items() >= {"webhook": "w", "count": 2}.items()
    assert lines[0]["timestamp"].endswith("Z")
    assert lines[2]["logger"] == "asyncio"


@pytest.mark.parametrize("event", ["worker_failed", "in a library, told"])
def test_a_traceback_says_where_and_why(event):
    (line,) = [one for line in stderr("error").splitlines() if (one := json.loads(line))["event"] == event]
    outer, inner = line["exception"]
    assert (outer["exc_value"], inner["exc_value"]) == ("cannot sign", "no such digest")
    assert [frame["name"] for frame in inner["frames"]] == ["deliver", "sign"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_holds_no_values(form):
    text = stderr("debug", form)
    assert "cannot sign" in text
    assert "s3cret" not in text


def test_the_level_decides():
    assert '"quiet"' in stderr("debug")
    assert '"told"' not in stderr("error")


def test_people_get_lines_without_json():
    assert "told" in stderr("info", "console")
    assert "{" not in stderr("info", "console").splitlines()[0]


def test_in_a_pipe_auto_is_json():
    assert json.loads(stderr("info", "auto").splitlines()[0])["event"] == "told"
