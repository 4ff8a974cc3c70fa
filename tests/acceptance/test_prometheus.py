"""A real Prometheus server scrapes the daemon; and what the daemon's port answers otherwise."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from cdc_hooks import __version__
from tests.acceptance.harness import SECRET, Daemon, Site, eventually, get, leading, own_port, webhook
from tests.acceptance.test_monitoring import DASHBOARD
from tests.conftest import need
from tests.receivers import answer, receiver_in_thread

ORDERS = 'public."Orders"'
SCRAPE = "200ms"
TOKEN = "Gk0oU9mQ-of-prometheus"
WRONG = [TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer \xe4\xff"]


class Prometheus:
    """A server of its own in a directory of its own, which scrapes one address."""

    def __init__(self, directory: Path, target: str, **options: Any) -> None:
        self._directory = directory
        self._config = directory / "prometheus.yml"
        self._config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE},
                    "scrape_configs": [{"job_name": "cdc-hooks", "static_configs": [{"targets": [target]}], **options}],
                }
            )
        )
        self._address = f"127.0.0.1:{own_port()}"

    def __enter__(self) -> Self:
        self._log = (self._directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self._directory / 'tsdb'}",
                f"--web.listen-address={self._address}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def query(self, expression: str) -> dict[frozenset[tuple[str, str]], float]:
        """The samples of an instant query, by their labels; empty while the server is starting."""
        url = f"http://{self._address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                found = json.load(response)["data"]["result"]
        except OSError:
            return {}
        return {frozenset(_own_labels(one["metric"])): float(one["value"][1]) for one in found}

    def holds(self, expression: str) -> bool:
        """Whether a comparison holds for any sample."""
        return bool(self.query(expression))


def _own_labels(metric: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Without those that the scraping adds."""
    return ((name, value) for name, value in metric.items() if name not in {"__name__", "job", "instance"})


@pytest.fixture
def shop(site: Site) -> Iterator[Site]:
    """Two webhooks on a table: one whose receiver takes all, one whose receiver takes nothing."""
    site.execute('CREATE TABLE "Orders" (id int PRIMARY KEY, note text)')
    with receiver_in_thread(secret=SECRET) as good, receiver_in_thread(secret=SECRET, then=answer(500)) as bad:
        site.configure(
            {
                "good": webhook(good.url, [ORDERS]),
                "bad": webhook(bad.url, [ORDERS], retry={"schedule": ["20ms"], "jitter": 0}, breaker="off"),
            }
        )
        site.apply()
        yield site


def sell(shop: Site) -> None:
    shop.execute("INSERT INTO \"Orders\" SELECT n, 'x' FROM generate_series(1, 30) n")
    shop.execute("UPDATE \"Orders\" SET note = 'y'")
    shop.execute('DELETE FROM "Orders" WHERE id > 20')


# What must hold of the shop's metrics, in Prometheus' own words. An expression of several samples must hold for one of
# them; where labels matter, they are in it.
EXPECTED = [
    'up{job="cdc-hooks"} == 1',
    "cdc_hooks_leading == 1",
    f'cdc_hooks_build_info{{version="{__version__}"}} == 1',
    *(
        f"cdc_hooks_changes_read_total{{table='{ORDERS}', action='{action}'}} >= {count}"
        for action, count in {"insert": 30, "update": 30, "delete": 10}.items()
    ),
    'cdc_hooks_changes_delivered_total{webhook="good"} == 70',
    'cdc_hooks_changes_delivered_total{webhook="bad"} == 0',
    'cdc_hooks_deliveries_total{webhook="good", outcome="delivered"} >= 3',
    'cdc_hooks_deliveries_total{webhook="good", outcome="dead_letter"} == 0',
    'cdc_hooks_deliveries_total{webhook="bad", outcome="dead_letter"} >= 3',
    'cdc_hooks_attempts_total{webhook="good", outcome="delivered"} >= 3',
    'cdc_hooks_attempts_total{webhook="bad", outcome="5xx"} >= 6',
    'cdc_hooks_attempts_total{webhook="bad", outcome="delivered"} == 0',
    'cdc_hooks_attempt_duration_seconds_count{webhook="bad"} >= 6',
    'histogram_quantile(0.5, cdc_hooks_attempt_duration_seconds_bucket{webhook="good"}) > 0',
    'histogram_quantile(0.99, cdc_hooks_commit_to_delivery_seconds_bucket{webhook="good"}) > 0',
    'cdc_hooks_commit_to_delivery_seconds_sum{webhook="good"} > 0',
    'cdc_hooks_backlog_changes{webhook="good"} == 0',
    'cdc_hooks_lag_seconds{webhook="good"} == 0',
    'cdc_hooks_webhook_state{webhook="good", state="active"} == 1',
    'cdc_hooks_webhook_state{webhook="good", state="retrying"} == 0',
    'cdc_hooks_dead_letters{webhook="bad"} >= 3',
    "cdc_hooks_change_log_bytes > 0",
    "cdc_hooks_change_log_rows >= 1",
    "cdc_hooks_notify_queue_usage_ratio <= 1",
    f"cdc_hooks_capture_healthy{{table='{ORDERS}'}} == 1",
    "process_resident_memory_bytes > 1e6",
    "process_cpu_seconds_total > 0",
    "process_open_fds > 0",
]


def test_prometheus_sees_every_metric(shop, tmp_path):
    need("prometheus", shutil.which("prometheus"))
    with leading(shop) as daemon, Prometheus(tmp_path, daemon._http.removeprefix("http://")) as prometheus:
        sell(shop)
        missing = list(EXPECTED)

        def all_hold() -> bool:
            missing[:] = [one for one in missing if not prometheus.holds(one)]
            return not missing

        try:
            eventually(all_hold)
        except AssertionError:
            text = get(daemon, "/metrics")[2]
            raise AssertionError(f"does not hold: {missing}\n{text}") from None

        # No label but those of the configuration and fixed words: the number of series does not grow with the data.
        series = eventually(lambda: prometheus.query('{__name__=~"cdc_hooks_.*"}'))  # none after a scrape that failed
        labels = {name for metric in series for name, _ in metric}
        assert labels == {"webhook", "outcome", "table", "action", "state", "channel", "le", "version"}
        before = eventually(lambda: prometheus.query('count({__name__=~"cdc_hooks_.*"})'))
        sell_again = "INSERT INTO \"Orders\" SELECT n, 'x' FROM generate_series(100, 200) n"
        shop.execute(sell_again)
        eventually(lambda: prometheus.holds('cdc_hooks_changes_delivered_total{webhook="good"} == 171'))
        assert eventually(lambda: prometheus.query('count({__name__=~"cdc_hooks_.*"})')) == before


def test_every_panel_of_the_dashboard_has_data(shop, tmp_path):
    need("prometheus", shutil.which("prometheus"))
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    filled = {"$__rate_interval": "10s", "$job": "cdc-hooks", "$instance": ".*", "$webhook": "good|bad"}
    missing = {}
    for panel in panels:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in filled.items():
                expression = expression.replace(variable, value)
            missing[panel["title"], target["refId"]] = expression

    with leading(shop) as daemon, Prometheus(tmp_path, daemon._http.removeprefix("http://")) as prometheus:

        def all_have() -> bool:
            shop.execute('INSERT INTO "Orders" SELECT coalesce(max(id), 0) + 1, \'x\' FROM "Orders"')
            for panel, expression in list(missing.items()):
                if any(not math.isnan(value) for value in prometheus.query(expression).values()):
                    del missing[panel]
            return not missing

        try:
            eventually(all_have)
        except AssertionError:
            raise AssertionError(f"nothing to show: {missing}") from None


def test_promtool_finds_nothing_wrong_with_the_metrics(shop):
    need("prometheus", shutil.which("promtool"))
    with leading(shop) as daemon:
        sell(shop)
        eventually(lambda: daemon.metric("cdc_hooks_deliveries_total", webhook="bad", outcome="dead_letter") >= 3)
        text = get(daemon, "/metrics")[2]
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_what_the_port_answers(shop):
    with leading(shop) as daemon:
        status, headers, text = get(daemon, "/metrics")
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
        assert "\ncdc_hooks_leading 1.0\n" in text

        open_metrics = "application/openmetrics-text; version=1.0.0"
        _, headers, text = get(daemon, "/metrics", Accept=f"{open_metrics},text/plain;q=0.5")
        assert headers["content-type"].startswith(open_metrics)
        assert text.endswith("# EOF\n")

        assert get(daemon, "/healthz")[::2] == (200, "ok\n")
        assert get(daemon, "/readyz")[::2] == (200, "leading\n")
        status, headers, text = get(daemon, "/metrics", "HEAD")
        assert (status, text) == (200, "")
        assert int(headers["content-length"]) > 0
        assert get(daemon, "/")[0] == 404
        assert get(daemon, "/metrics", "POST")[0] == 405


def test_prometheus_has_a_token(site, tmp_path):
    need("prometheus", shutil.which("prometheus"))
    site.configure({}, metrics={"listen": f"127.0.0.1:{own_port()}", "token": TOKEN})
    site.apply()
    right, wrong = ({"authorization": {"credentials": token}} for token in (TOKEN, "another"))
    with leading(site) as daemon:
        target = daemon._http.removeprefix("http://")
        with Prometheus(tmp_path, target, **right) as prometheus:
            eventually(lambda: prometheus.holds("cdc_hooks_leading == 1"))
        with Prometheus(tmp_path, target, **wrong) as prometheus:
            eventually(lambda: prometheus.holds('up{job="cdc-hooks"} == 0'))


def test_metrics_and_words_are_for_who_has_the_token(site):
    (site.directory / "token").write_text(f"{TOKEN}\n")
    site.configure({}, metrics={"listen": f"127.0.0.1:{own_port()}", "token_file": "token"})
    site.apply()
    with leading(site) as daemon:
        for right in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            status, _, text = get(daemon, "/metrics", Authorization=right)
            assert (status, "cdc_hooks_leading 1.0" in text) == (200, True)
            assert get(daemon, "/readyz", Authorization=right)[::2] == (200, "leading\n")
        for wrong in (*WRONG, None):
            headers = {} if wrong is None else {"Authorization": wrong}
            status, answered, text = get(daemon, "/metrics", **headers)
            assert (status, answered["www-authenticate"]) == (401, 'Bearer realm="cdc-hooks"')
            assert "metrics.token" in text
            assert "cdc_hooks_" not in text
            assert get(daemon, "/readyz", **headers)[::2] == (200, "")
            assert get(daemon, "/healthz", **headers)[::2] == (200, "ok\n")


def test_without_the_token_nobody_learns_where_the_database_is(site):
    listen = f"127.0.0.1:{own_port()}"
    dsn = f"host=127.0.0.1 port={own_port()} dbname=shop"
    site.configure({}, dsn=dsn, metrics={"listen": listen, "token": TOKEN})
    with Daemon(site) as daemon:
        daemon.until("database_unavailable")
        assert get(daemon, "/readyz")[::2] == (503, "")
        status, _, text = get(daemon, "/readyz", Authorization=f"Bearer {TOKEN}")
        assert (status, "127.0.0.1" in text) == (503, True)


def test_readiness_goes_and_comes_with_the_database(own_server, tmp_path):
    site = Site(own_server.dsn(), tmp_path)
    site.configure({})
    site.apply()
    with leading(site) as daemon:
        assert daemon.ready() == (200, "leading\n")
        own_server.stop("immediate")
        eventually(lambda: daemon.ready()[0] == 503)
        assert daemon.ready()[1].startswith("waiting for the database: ")
        assert get(daemon, "/healthz")[0] == 200  # restarting it would not help
        assert daemon.metric("cdc_hooks_leading") == 0
        own_server.start()
        eventually(lambda: daemon.ready() == (200, "leading\n"))
        assert daemon.metric("cdc_hooks_leading") == 1


def test_a_webhook_that_is_taken_out_leaves_no_series_behind(shop):
    with leading(shop) as daemon:
        sell(shop)
        eventually(lambda: daemon.metric("cdc_hooks_deliveries_total", webhook="bad", outcome="dead_letter") >= 3)
        webhooks = yaml.safe_load(shop.path.read_text())["webhooks"]
        shop.configure({"good": webhooks["good"]})
        daemon.reload()
        eventually(lambda: 'webhook="bad"' not in get(daemon, "/metrics")[2])
        assert 'webhook="good"' in get(daemon, "/metrics")[2]


def test_what_is_no_http_is_answered_and_does_not_fill_the_log(shop):
    with leading(shop) as daemon:
        host, _, port = daemon._http.removeprefix("http://").partition(":")
        for garbage in (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            with socket.create_connection((host, int(port)), timeout=10) as stranger:
                stranger.sendall(garbage)
                assert stranger.recv(100).startswith(b"HTTP/1.0 400 ")
        assert get(daemon, "/healthz")[0] == 200
        daemon.terminate()
        assert daemon.wait() == 0
        assert [line for line in daemon.log if line.get("logger") or "exception" in line] == []
