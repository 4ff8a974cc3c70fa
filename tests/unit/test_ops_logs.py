"""The log's form, and what must never be in it."""

import json
import subprocess
import sys

import pytest

FAILING = """
import logging, warnings
from cdc_hooks.ops import logs

def sign(key):
    raise ValueError("no such digest\\nDETAIL:  Failing row contains (s3cret" + "-of-a-row).")

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


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_holds_no_details_of_an_error(form):
    """PostgreSQL's quote rows and parameters, on the lines after the first."""
    text = stderr("debug", form)
    assert "no such digest" in text
    assert "DETAIL" not in text


def test_people_see_where_it_was_in_the_order_in_which_it_was():
    told = stderr("error", "console").partition("in a library")[0]
    order = ["in sign", "ValueError: no such digest", "in <module>", "RuntimeError: cannot sign"]
    assert sorted(order, key=told.index) == order


def test_a_group_of_errors_is_shown_whole():
    code = GROUP.format(form="json")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (group,) = json.loads(done.stderr)["exception"]
    assert [inner[0]["exc_value"] for inner in group["exceptions"]] == ["one", "two"]
    assert "s3cret" not in done.stderr


GROUP = """
from cdc_hooks.ops import logs
import structlog
logs.configure("error", "{form}")
try:
    raise ExceptionGroup("both", [ValueError("one\\ns3cret"), ValueError("two\\ns3cret")])
except ExceptionGroup:
    structlog.get_logger().exception("failed")
"""


FORGOTTEN = """
import asyncio, gc
from cdc_hooks.ops import logs
logs.configure("error", "{form}")

async def fail():
    raise ValueError("no such row\\nDETAIL:  Failing row contains (s3cret" + "-of-a-row).")

async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    del task
    gc.collect()

asyncio.run(main())
asyncio.run(fail())
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_error_that_nobody_caught_is_told_without_its_details(form):
    code = FORGOTTEN.format(form=form)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Task exception was never retrieved" in done.stderr
    assert "crashed" in done.stderr
    assert done.stderr.count("no such row") == 2
    assert "s3cret" not in done.stderr


def test_the_level_decides():
    assert '"quiet"' in stderr("debug")
    assert '"told"' not in stderr("error")


def test_people_get_lines_without_json():
    assert "told" in stderr("info", "console")
    assert "{" not in stderr("info", "console").splitlines()[0]


def test_in_a_pipe_auto_is_json():
    assert json.loads(stderr("info", "auto").splitlines()[0])["event"] == "told"
