"""The page for receivers' developers shows the programs that are tested, and says what the code does."""

from __future__ import annotations

import hmac
import json
import re
import subprocess
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from cdc_hooks.config.credentials import signing_key
from cdc_hooks.config.webhook import Webhook
from cdc_hooks.deliver.outcome import Outcome
from cdc_hooks.deliver.policy import Fault, fault_of
from cdc_hooks.deliver.sign import sign

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "receivers.md").read_text(encoding="utf-8")
LANGUAGES = {".py": "python", ".mjs": "js", ".go": "go", ".php": "php"}
PROGRAMS = sorted(file for file in (DOCS / "receivers").iterdir() if file.suffix != ".md")


def test_there_is_a_program_for_each_language():
    assert {program.suffix for program in PROGRAMS} == set(LANGUAGES)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_the_code_on_the_page_is_the_file(program):
    code = program.read_text(encoding="utf-8").rstrip()
    link = f"[receivers/{program.name}](receivers/{program.name}):\n\n"
    assert f"{link}```{LANGUAGES[program.suffix]}\n{code}\n```\n" in PAGE


@pytest.mark.parametrize("page", ["README.md", "docs/receivers.md"])
def test_the_request_that_is_shown_is_genuine(page):
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    ((head, shown),) = re.findall(r"```http\n(POST.*?)```\n\n```json\n(.*?)```", text, re.DOTALL)
    headers = dict(re.findall(r"^(webhook-[a-z]+): (.+)$", head, re.MULTILINE))
    body = re.sub(r'("(?:[^"\\]|\\.)*")|\s+', r"\1", shown)  # no spaces but in texts
    keys = [signing_key(re.search(r"whsec_[\w+/=]+", PAGE)[0])]  # type: ignore[index]
    assert sign(keys, headers["webhook-id"], int(headers["webhook-timestamp"]), body.encode()) == headers
    said = json.loads(body)
    assert said["id"] == headers["webhook-id"]
    assert said["hmac"] == hmac.new(keys[0], said["id"].encode(), "sha256").hexdigest()
    assert said["eventCount"] == len(said["items"])


def test_what_there_is_to_read_is_listed():
    listed = re.findall(r"\]\(([\w/.-]+)\)", (DOCS / "README.md").read_text(encoding="utf-8"))
    pages = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")} - {"README.md"}
    assert pages <= set(listed)
    programs = re.findall(r"^\| \[(.*?)\]\(\1\)", (DOCS / "receivers/README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(programs) == [program.name for program in PROGRAMS]


def rows_of_answers() -> dict[str, str]:
    """The table of answers: what follows, by the statuses of the first column."""
    table = PAGE.partition("| You answer | cdc-hooks |")[2].partition("\n\n")[0]
    rows = (line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| "))
    return {statuses: consequence for statuses, consequence in rows}  # noqa: C416 - each row has two columns


def statuses_in(text: str) -> set[int]:
    ranges = re.findall(r"(\d{3})(?: to (\d{3}))?", text)
    return {status for first, last in ranges for status in range(int(first), int(last or first) + 1)}


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("sick", Fault.ENDPOINT),
        ("not acceptable", Fault.CONTENT),
        ("too large", Fault.SIZE),
        ("pauses", Fault.GONE),
        ("may be you or the batch", Fault.UNCLEAR),
    ],
)
def test_each_status_leads_to_what_the_page_says(word, fault):
    (statuses,) = [statuses for statuses, consequence in rows_of_answers().items() if word in consequence]
    named = statuses_in(statuses)
    assert {fault_of(Outcome(status=status)) for status in named} == {fault}
    if fault is not Fault.UNCLEAR:
        assert named == {status for status in range(400, 600) if fault_of(Outcome(status=status)) is fault}


def test_the_numbers_on_the_page_are_the_defaults():
    given = {"url": "https://a.example", "secret": "s" * 16, "tables": {"public.orders": None}}
    webhook = Webhook.model_validate(given)
    assert webhook.breaker is not None
    assert webhook.batch.max_events == 100
    assert webhook.batch.max_bytes == 256 * 1024
    assert webhook.concurrency == 4
    assert webhook.timeout.total == 20
    assert webhook.retry.schedule == (5, 60, 300, 1800, 7200, 43200)
    assert webhook.retry.retry_after_cap == 3600
    assert (webhook.breaker.failures, webhook.breaker.pause, webhook.breaker.longest_pause) == (5, 10, 300)
    assert webhook.breaker.drain_rate == 20


def test_the_request_by_hand_is_signed_right():
    script = re.search(r"```sh\n(export WEBHOOK_SECRET=.*?)curl ", PAGE, re.DOTALL)
    assert script is not None
    told = 'printf "%s\\n" "$WEBHOOK_SECRET" "$now" "$signature" "$body"'
    done = subprocess.run(["bash", "-euc", script[1] + told], capture_output=True, text=True, check=True, timeout=60)
    secret, now, signature, body = done.stdout.splitlines()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": now, "webhook-signature": f"v1,{signature}"}
    assert Verifier(secret).verify(body, headers)["items"][0]["eventId"] == "1-1"
