"""Programs that we did not write: another implementation of the signature, and a web server as receiver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.acceptance.harness import SECRET, eventually, leading, own_port, webhook
from tests.acceptance.inbox import Arrival, receiving
from tests.conftest import need

VERIFY = """
const { Webhook } = require("standardwebhooks");
const { secret, requests } = JSON.parse(require("fs").readFileSync(0));
for (const { headers, body } of requests) {
  console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
  let refused = 0;
  try { new Webhook(secret).verify(body + " ", headers); } catch { refused = 1; }
  if (!refused) throw new Error("a body that was changed was accepted");
}
"""
# After what docs/secrets.md tells receivers, which needs no library, once for each key.
VERIFY_ED25519 = """
import { readFileSync } from "node:fs";
for (const { headers, body } of JSON.parse(readFileSync(0))) {
  if (isGenuine(Buffer.from(body + " "), headers)) throw new Error("a body that was changed was accepted");
  console.log(JSON.stringify(isGenuine(Buffer.from(body), headers)));
}
"""
NGINX = """
daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  log_format seen '$http_webhook_id $http_content_type $content_length';
  access_log {directory}/seen seen;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  server {{ listen 127.0.0.1:{port}; keepalive_requests 100000; location / {{ return 204; }} }}
}}
"""


def test_the_npm_package_verifies_what_is_sent(site, tmp_path):
    npm = shutil.which("npm")
    need("npm", npm)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "standardwebhooks@1"],
        check=True,
        capture_output=True,
    )
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    with receiving() as inbox:
        site.configure({"w": webhook(inbox.url, ["public.orders"])})
        site.apply()
        with leading(site):
            site.execute("INSERT INTO orders VALUES (1, 'Grüße 東京 🐘 \"quoted\" \\ ')")
            inbox.until(1)
            site.execute("UPDATE orders SET note = NULL")
            inbox.until(2)
    requests = [{"headers": dict(arrival.request.headers), "body": arrival.body.decode()} for arrival in inbox.arrivals]
    verified = subprocess.run(
        ["node", "-e", VERIFY],
        input=json.dumps({"secret": SECRET, "requests": requests}),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert [json.loads(line) for line in verified.stdout.splitlines()] == [
        json.loads(arrival.body) for arrival in inbox.arrivals
    ]


# A change from the first key to the second, and then a secret (None) beside it.
STAGES = [((0, 1), ("v1a", "v1a")), ((1,), ("v1a",)), ((1, None), ("v1a", "v1"))]


def test_node_verifies_ed25519_by_the_public_keys_alone(site):
    """The secrets are those that the commands make; one is changed while the daemon runs."""
    need("npm", shutil.which("node"))
    pair = [json.loads(site.run("secret", "new", "--ed25519", "--json").stdout) for _ in range(2)]
    old, new = pair
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    with receiving(secret=None) as inbox:

        def sent_with(*kinds: str) -> Arrival:
            """The first that is signed so. The worker changes over by itself: others may come before."""
            for number in range(len(inbox.times) + 1, 200):
                site.execute("INSERT INTO orders VALUES (%s, 'Grüße 東京 🐘 \"quoted\" \\ ')", number)
                arrival = inbox.until(number)[-1]
                signatures = (arrival.request.header("webhook-signature") or "").split(" ")
                if [one.partition(",")[0] for one in signatures] == list(kinds):
                    return arrival
            raise AssertionError(f"nothing was signed with {kinds}")

        def sign_with(*secrets: str) -> None:
            site.configure({"w": webhook(inbox.url, ["public.orders"], secret=list(secrets))})

        sign_with(old["secret"])
        site.apply()
        with leading(site) as daemon:
            arrivals = [sent_with("v1a")]
            for secrets, kinds in STAGES:
                sign_with(*(SECRET if one is None else pair[one]["secret"] for one in secrets))
                daemon.reload()
                arrivals.append(sent_with(*kinds))
    requests = [{"headers": dict(arrival.request.headers), "body": arrival.body.decode()} for arrival in arrivals]
    assert _genuine(old["public"], requests) == [True, True, False, False]
    assert _genuine(new["public"], requests) == [False, True, True, True]
    first, last = (json.loads(arrivals[place].body) for place in (0, -1))
    assert "hmac" not in first
    assert list(last)[:2] == ["id", "hmac"]


def _genuine(public: str, requests: list[dict[str, Any]]) -> list[bool]:
    page = (Path(__file__).parents[2] / "docs/secrets.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```js\n(.*?)```", page, re.DOTALL)
    verified = subprocess.run(
        ["node", "--input-type=module", "-e", code.replace("whpk_…", public) + VERIFY_ED25519],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    return [json.loads(line) for line in verified.stdout.splitlines()]


def test_nginx_gets_every_change(site, tmp_path: Path):
    program = shutil.which("nginx")
    need("nginx", program)
    assert program is not None
    port = own_port()
    user = "user root;" if tmp_path.owner() == "root" else ""
    (tmp_path / "nginx.conf").write_text(NGINX.format(directory=tmp_path, port=port, user=user))
    server = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)])
    try:
        site.execute("CREATE TABLE orders (id int PRIMARY KEY, note text)")
        site.configure({"w": webhook(f"http://127.0.0.1:{port}/hook", ["public.orders"], concurrency=8)})
        site.apply()
        with leading(site) as daemon:
            for start in range(0, 20_000, 1000):
                site.execute(
                    "INSERT INTO orders SELECT n, 'x' FROM generate_series(%s::int, %s::int) n", start, start + 999
                )

            def delivered() -> float:
                return daemon.metric("cdc_hooks_changes_delivered_total", webhook="w")

            eventually(lambda: delivered() >= 20_000, what="the delivery of 20,000 changes")
            assert delivered() == 20_000
            batches = daemon.metric("cdc_hooks_deliveries_total", webhook="w", outcome="delivered")
            assert daemon.metric("cdc_hooks_attempts_total", webhook="w", outcome="delivered") == batches
    finally:
        server.terminate()
        server.wait()
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert len(seen) == len({identity for identity, *_ in seen}) == batches
    assert {kind for _, kind, _ in seen} == {"application/json"}
