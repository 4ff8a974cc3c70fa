"""The programs that a receiver's developer copies verify what is really sent, and nothing else."""

from __future__ import annotations

import base64
import json
import runpy
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cdc_hooks.config.credentials import signing_key
from cdc_hooks.deliver.sign import sign
from tests.acceptance.harness import SECRET, Site, leading, webhook
from tests.acceptance.inbox import receiving
from tests.conftest import need

PROGRAMS = Path(__file__).parents[2] / "docs/receivers"
NEXT_SECRET = "whsec_q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k"  # without padding
PLAIN_SECRET = "plain text of the shöp"
TOO_FAR_S = 301 + 30  # the programs look at the clock a little later than the test


@dataclass(frozen=True)
class Case:
    secret: str
    headers: dict[str, str]
    body: bytes
    genuine: bool = False

    def but(
        self, *, genuine: bool = False, body: bytes | None = None, secret: str | None = None, **headers: str
    ) -> Case:
        changed = self.headers | {f"webhook-{name}": value for name, value in headers.items()}
        return replace(
            self,
            headers=changed,
            body=self.body if body is None else body,
            secret=self.secret if secret is None else secret,
            genuine=genuine,
        )


@pytest.fixture
def sent(site: Site) -> list[Case]:
    """Requests of the daemon, signed with two secrets: each of them verifies it."""
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    with receiving() as inbox:
        site.configure({"w": webhook(inbox.url, ["public.orders"], secret=[SECRET, NEXT_SECRET])})
        site.apply()
        with leading(site):
            site.execute("INSERT INTO orders VALUES (1, 'Grüße 東京 🐘 \"quoted\" \\ ')")
            inbox.until(1)
            site.execute("INSERT INTO orders SELECT n, repeat('x', 1000) FROM generate_series(2, 90) n")
            inbox.until(90)
    requests = [(dict(one.request.headers), one.body) for one in inbox.arrivals]
    return [Case(secret, headers, body, genuine=True) for headers, body in requests for secret in (SECRET, NEXT_SECRET)]


def cases_of(sent: list[Case]) -> dict[str, Case]:
    """What the programs are asked about, by name."""
    first = sent[0]
    message_id, timestamp, signatures = (first.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    assert len(signatures.split()) == 2

    def signed(timestamp: int, secret: str = SECRET, *, genuine: bool = False) -> Case:
        return Case(secret, sign([signing_key(secret)], message_id, timestamp, first.body), first.body, genuine)

    now = int(time.time())
    return {
        **{f"as it was sent, {number}": one for number, one in enumerate(sent)},
        "a plain secret": signed(now, PLAIN_SECRET, genuine=True),
        "a secret with padding": signed(now, NEXT_SECRET + "=", genuine=True),
        "one signature": signed(now, genuine=True),
        "a minute ago": signed(now - 60, genuine=True),
        "another version before it": first.but(signature=f"v1a,{'A' * 86}== {signatures}", genuine=True),
        "nonsense around it": first.but(signature=f"v1 , v1,é {signatures} v2,x", genuine=True),
        "tampered body": first.but(body=first.body.replace(b"insert", b"delete", 1)),
        "longer body": first.but(body=first.body + b" "),
        "no body": first.but(body=b""),
        "another id": first.but(id=message_id[:-1] + ("0" if message_id[-1] != "0" else "1")),
        "no id": first.but(id=""),
        "another timestamp": first.but(timestamp=str(int(timestamp) + 1)),
        "too old": signed(now - TOO_FAR_S),
        "of the future": signed(now + TOO_FAR_S),
        "no timestamp": first.but(timestamp=""),
        "a timestamp that is none": first.but(timestamp=f"{timestamp}.0"),
        "a timestamp with a line end": first.but(timestamp=f"{timestamp}\n"),
        "an endless timestamp": first.but(timestamp="9" * 5000),
        "wrong secret": first.but(secret="whsec_" + base64.b64encode(bytes(32)).decode()),
        "wrong plain secret": first.but(secret=PLAIN_SECRET),
        "no signature": first.but(signature=""),
        "a signature without its version": first.but(signature=signatures.removeprefix("v1,").split()[0]),
        "a signature of another version": first.but(signature=signatures.replace("v1,", "v1a,")),
        "no headers": replace(first, headers={}, genuine=False),
        **{
            f"signed with an empty key, {secret!r}": Case(secret, sign([b""], message_id, now, first.body), first.body)
            for secret in ("", "whsec_")
        },
    }


NODE = """
import { readFileSync } from "node:fs";
const { verify } = await import(process.argv[2]);
const verdicts = {};
for (const [name, { secret, headers, body }] of Object.entries(JSON.parse(readFileSync(0)))) {
  try { verify(secret, headers, Buffer.from(body, "base64")); verdicts[name] = true; } catch { verdicts[name] = false; }
}
console.log(JSON.stringify(verdicts));
"""
GO = """
package main

import (
	"encoding/json"
	"net/http"
	"os"

	"receiver/receiver"
)

func main() {
	var cases map[string]struct {
		Secret  string
		Headers map[string]string
		Body    []byte
	}
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	verdicts := map[string]bool{}
	for name, one := range cases {
		header := http.Header{}
		for key, value := range one.Headers {
			header.Set(key, value)
		}
		verdicts[name] = receiver.Verify(one.Secret, header, one.Body) == nil
	}
	json.NewEncoder(os.Stdout).Encode(verdicts)
}
"""
PHP = """<?php
require $argv[1];
$verdicts = [];
foreach (json_decode(file_get_contents('php://stdin'), true) as $name => $one) {
    $server = [];
    foreach ($one['headers'] as $key => $value) {
        $server['HTTP_' . strtoupper(str_replace('-', '_', $key))] = $value;
    }
    try {
        CdcHooks\\verify($one['secret'], $server, base64_decode($one['body']));
        $verdicts[$name] = true;
    } catch (CdcHooks\\WrongSignature | ValueError $refused) {
        $verdicts[$name] = false;
    }
}
echo json_encode($verdicts);
"""


def ask_python(cases: dict[str, Case], _directory: Path) -> dict[str, bool]:
    program = runpy.run_path(str(PROGRAMS / "verify.py"))

    def verdict(case: Case) -> bool:
        try:
            program["verify"](case.secret, case.headers, case.body)
        except (program["WrongSignatureError"], ValueError):
            return False
        return True

    return {name: verdict(case) for name, case in cases.items()}


def ask_node(cases: dict[str, Case], directory: Path) -> dict[str, bool]:
    need("npm", shutil.which("node"))
    driver = directory / "driver.mjs"
    driver.write_text(NODE)
    return _asked(cases, "node", driver, PROGRAMS / "verify.mjs")


def ask_go(cases: dict[str, Case], directory: Path) -> dict[str, bool]:
    need("Go", shutil.which("go"))
    (directory / "receiver").mkdir()
    shutil.copy(PROGRAMS / "verify.go", directory / "receiver")
    (directory / "go.mod").write_text("module receiver\n\ngo 1.19\n")
    (directory / "main.go").write_text(GO)
    away = {"GOCACHE": str(directory / "cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    built = ["env", *(f"{name}={value}" for name, value in away.items()), "go", "build", "-o", "driver", "."]
    subprocess.run(built, cwd=directory, check=True, timeout=100)
    return _asked(cases, directory / "driver")


def ask_php(cases: dict[str, Case], directory: Path) -> dict[str, bool]:
    need("PHP", shutil.which("php"))
    driver = directory / "driver.php"
    driver.write_text(PHP)
    return _asked(
        cases, "php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", driver, PROGRAMS / "verify.php"
    )


def _asked(cases: dict[str, Case], *command: str | Path) -> dict[str, bool]:
    given = {
        name: {"secret": one.secret, "headers": one.headers, "body": base64.b64encode(one.body).decode()}
        for name, one in cases.items()
    }
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("ask", [ask_python, ask_node, ask_go, ask_php])
def test_a_program_for_receivers_tells_what_is_genuine(sent, tmp_path, ask: Callable[..., Any]):
    cases = cases_of(sent)
    assert ask(cases, tmp_path) == {name: case.genuine for name, case in cases.items()}
