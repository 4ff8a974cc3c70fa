"""Programs that we did not write: another implementation of the signature, and a web server as receiver."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from cdc_hooks.demo.postgres import free_port
from tests.acceptance.harness import SECRET, eventually, leading, webhook
from tests.acceptance.inbox import receiving
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


def test_nginx_gets_every_change(site, tmp_path: Path):
    program = shutil.which("nginx")
    need("nginx", program)
    assert program is not None
    port = free_port()
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
