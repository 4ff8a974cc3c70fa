"""What docs/secrets.md tells receivers of Ed25519, in each language: it takes what is genuine, and nothing else."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc_hooks.config.credentials import key_of
from cdc_hooks.config.ed25519 import SigningKey
from cdc_hooks.deliver.sign import sign
from tests.conftest import need

PAGE = (Path(__file__).parents[2] / "docs/secrets.md").read_text(encoding="utf-8")
KEY = SigningKey.from_seed(bytes(range(32)))
HMAC = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
BODY = '{"id":"msg_1","name":"Jürgen €"}'.encode()

Case = tuple[dict[str, str], bytes]


def cases() -> dict[str, tuple[Case, bool]]:
    """Headers and body, and whether they are genuine, by name."""
    now = int(time.time())

    def signed(at: int = now, *, by: Any = KEY) -> dict[str, str]:
        return sign([by], "msg_1", at, BODY)

    genuine = signed()
    (mine, other) = (headers["webhook-signature"] for headers in (genuine, signed(by=SigningKey.generate())))
    among = sign([HMAC, SigningKey.generate(), KEY], "msg_1", now, BODY)

    def but(**changes: str) -> dict[str, str]:
        return genuine | {f"webhook-{name}": value for name, value in changes.items()}

    return {
        "as it was sent": ((genuine, BODY), True),
        "among others": ((among, BODY), True),
        "nonsense before it": ((but(signature=f"v1a v1a, v1a,!! v1a,AAAA {mine}"), BODY), True),
        "tampered body": ((genuine, BODY + b" "), False),
        "no body": ((genuine, b""), False),
        "another id": ((but(id="msg_2"), BODY), False),
        "another timestamp": ((but(timestamp=str(now + 1)), BODY), False),
        "too old": ((signed(now - 331), BODY), False),
        "of the future": ((signed(now + 331), BODY), False),
        "a timestamp that is none": ((but(timestamp="now"), BODY), False),
        "another key": ((but(signature=other), BODY), False),
        "another version": ((but(signature=mine.replace("v1a,", "v1,")), BODY), False),
        "no signature": ((but(signature=""), BODY), False),
        "no headers": (({}, BODY), False),
    }


def code(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert "whpk_…" in found
    return found.replace("whpk_…", KEY.public_text(), 1)


JS = """
import { readFileSync } from "node:fs";
const verdicts = JSON.parse(readFileSync(0)).map(([headers, body]) => isGenuine(Buffer.from(body, "base64"), headers));
console.log(JSON.stringify(verdicts));
"""
GO = """
func main() {
	var cases [][2]json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	verdicts := []bool{}
	for _, one := range cases {
		var headers map[string]string
		var body []byte
		json.Unmarshal(one[0], &headers)
		json.Unmarshal(one[1], &body)
		header := http.Header{}
		for name, value := range headers {
			header.Set(name, value)
		}
		verdicts = append(verdicts, isGenuine(body, header))
	}
	json.NewEncoder(os.Stdout).Encode(verdicts)
}
"""
PHP = """
$verdicts = [];
foreach (json_decode(file_get_contents('php://stdin'), true) as [$headers, $body]) {
    $server = [];
    foreach ($headers as $name => $value) {
        $server['HTTP_' . strtoupper(str_replace('-', '_', $name))] = $value;
    }
    $verdicts[] = is_genuine(base64_decode($body), $server);
}
echo json_encode($verdicts);
"""


def in_python(asked: list[Case], _directory: Path) -> list[bool]:
    receiver: dict[str, Any] = {}
    exec(code("python"), receiver)
    return [receiver["is_genuine"](body, headers) for headers, body in asked]


def in_node(asked: list[Case], directory: Path) -> list[bool]:
    need("npm", shutil.which("node"))
    program = directory / "receiver.mjs"
    program.write_text(code("js") + JS)
    return answered(asked, "node", program)


def in_go(asked: list[Case], directory: Path) -> list[bool]:
    need("Go", shutil.which("go"))
    text = code("go").replace("import (", 'import (\n\t"encoding/json"\n\t"os"', 1)
    (directory / "go.mod").write_text("module receiver\n\ngo 1.19\n")
    (directory / "main.go").write_text(f"package main\n\n{text}{GO}")
    away = {"GOCACHE": str(directory / "cache"), "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    built = ["env", *(f"{name}={value}" for name, value in away.items()), "go", "build", "-o", "receiver", "."]
    subprocess.run(built, cwd=directory, check=True, timeout=100)
    return answered(asked, directory / "receiver")


def in_php(asked: list[Case], directory: Path) -> list[bool]:
    need("PHP", shutil.which("php"))
    program = directory / "receiver.php"
    program.write_text(f"<?php\n{code('php')}{PHP}")
    return answered(asked, "php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", program)


def answered(asked: list[Case], *command: str | Path) -> list[bool]:
    given = json.dumps([[headers, base64.b64encode(body).decode()] for headers, body in asked])
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("ask", [in_python, in_node, in_go, in_php])
def test_the_page_tells_receivers_what_is_genuine(tmp_path: Path, ask: Callable[[list[Case], Path], list[bool]]):
    known = cases()
    verdicts = ask([case for case, _ in known.values()], tmp_path)
    assert dict(zip(known, verdicts, strict=True)) == {name: genuine for name, (_, genuine) in known.items()}
