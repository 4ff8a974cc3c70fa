"""A configuration file → objects, with its defaults, variables and files."""

import base64
from pathlib import Path

import pytest

from cdc_hooks.config import Level, Ordering, Start, WhenFull, load, redacted, warnings
from cdc_hooks.config.load import parse
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action

PLAIN = "0123456789abcdef"
KEY = bytes(range(32))
WHSEC = "whsec_" + base64.b64encode(KEY).decode()
ALL_ACTIONS = (Action.INSERT, Action.UPDATE, Action.DELETE)


def config(text, environ=None, path=Path("config.yaml")):
    return parse(text, path, environ or {})


def webhook(lines="", *, top="", secret=f"secret: {PLAIN}", environ=None, path=Path("config.yaml")):
    """One otherwise complete webhook with ``lines`` added, and ``top`` beside it."""
    added = "".join(f"    {line}\n" for line in lines.splitlines())
    tables = "" if "tables:" in lines else "    tables: [public.orders]\n"
    url = "" if "url:" in lines else "    url: https://a.example\n"
    text = f"database: {{dsn: dbname=shop user=daemon}}\nwebhooks:\n  w:\n{url}    {secret}\n{tables}{added}{top}"
    return config(text, environ, path).webhooks["w"]


def whole(top):
    hook = f"{{w: {{url: 'https://a.example', secret: {PLAIN}, tables: public.orders}}}}"
    text = f"database: {{dsn: dbname=shop}}\nwebhooks: {hook}\n"
    return config(text + top)


def test_defaults():
    made = webhook()
    assert made.batch.max_events == 100
    assert made.batch.max_bytes == 262_144
    assert made.batch.max_wait == 0
    assert (made.ordering, made.concurrency, made.start) == (Ordering.KEY, 4, Start.NOW)
    assert (made.timeout.connect, made.timeout.total) == (5, 20)
    assert made.retry.schedule == (5, 60, 300, 1800, 7200, 43200)
    assert made.tables["public.orders"].actions == ALL_ACTIONS
    assert made.tables["public.orders"].fields is None
    assert made.request_headers() == {}
    everything = whole("")
    assert everything.change_log.history == 86_400
    assert everything.change_log.when_full is WhenFull.HOLD
    assert everything.metrics.listen == "127.0.0.1:9464"
    assert everything.database.owner_role == "cdc_hooks_owner"


@pytest.mark.parametrize("total", ["3s", "250ms"])
def test_a_short_limit_for_all_of_an_attempt_is_one_for_connecting_too(total):
    made = webhook(f"timeout: {{total: {total}}}\nbreaker: {{longest_pause: {total}}}\n")
    assert made.timeout.connect == made.timeout.total < 5
    assert made.breaker.pause == made.breaker.longest_pause < 5
    assert webhook(f"preset: fire-and-forget\ntimeout: {{total: {total}}}\n").timeout.connect < 5
    assert webhook("timeout: {total: 30s}\n").timeout.connect == 5
    assert webhook("timeout: {connect: 1s, total: 2s}\n").timeout.connect == 1


def test_all_that_a_webhook_can_say():
    made = webhook(
        "tables:\n"
        "  public.orders: {actions: [insert, truncate], fields: [total, id]}\n"
        "  Public.Customers:\n"
        "batch: {max_events: 1000, max_bytes: 1MiB, max_wait: 250ms}\n"
        "ordering: strict\n"
        "concurrency: 64\n"
        "timeout: {connect: 1s, total: 1m}\n"
        "retry: {schedule: [1s, 1h30m], jitter: 0, retry_after_cap: 10m, on_exhausted: dead_letter}\n"
        "auth: {basic: {user: shop, password: 'p:w'}}\n"
        "headers: {X-Source: on}\n"
        "client_code: 0100\n"
        "start: earliest\n"
    )
    assert made.tables["public.orders"].actions == (Action.INSERT, Action.TRUNCATE)
    assert made.tables["public.orders"].fields == ("total", "id")
    assert made.tables["public.customers"].actions == ALL_ACTIONS
    assert (made.batch.max_events, made.batch.max_bytes, made.batch.max_wait) == (1000, 2**20, 0.25)
    assert made.retry.schedule == (1, 5400)
    assert made.request_headers() == {"X-Source": "on", "Authorization": "Basic c2hvcDpwOnc="}
    assert made.client_code == "0100"


def test_the_dbas_say():
    made = whole(
        "tables:\n"
        "  public.orders: {key: [id, line], exclude: card, when: NEW.a <> 'x', level: statement, max_row_bytes: 2MiB}\n"
        "  public.lines: {when: {insert: NEW.a, delete: OLD.a}, exclude: []}\n"
        "change_log: {history: 2d, max_bytes: 1GiB, when_full: drop_oldest}\n"
        "log: {format: json, level: debug}\n"
    )
    orders, lines = made.tables["public.orders"], made.tables["public.lines"]
    assert (orders.key, orders.exclude, orders.when) == (("id", "line"), ("card",), "NEW.a <> 'x'")
    assert (orders.level, orders.max_row_bytes) == (Level.STATEMENT, 2**21)
    assert lines.when == {Action.INSERT: "NEW.a", Action.DELETE: "OLD.a"}
    assert (made.change_log.history, made.change_log.max_bytes) == (172_800, 2**30)
    assert warnings(made) == ["tables.public.lines: no webhook wants this table: it is not captured"]


@pytest.mark.parametrize(
    "text", ["metrics: off", "metrics:", "metrics: {listen: off}", "metrics: {listen: }", "metrics: null"]
)
def test_metrics_can_be_switched_off(text):
    assert whole(text).metrics.listen is None


@pytest.mark.parametrize("text", ["log:", "log: {}", "change_log:\n  # history: 1h\n", "tables:", "network:"])
def test_an_empty_section_is_all_defaults(text):
    assert whole(text) == whole("")


@pytest.mark.parametrize("text", ["yes", "true", "on", "True"])
def test_booleans_as_people_write_them(text):
    assert whole(f"network: {{allow_http: {text}}}").network.allow_http is True


def test_networks_and_hosts():
    assert whole("network: {allow: [127.0.0.0/8, '::1', 10.1.2.3, Hooks.Internal.]}").network.allow == (
        "127.0.0.0/8",
        "::1/128",
        "10.1.2.3/32",
        "hooks.internal",
    )


def test_http_where_it_is_allowed():
    assert webhook("url: http://127.0.0.1:8080/x", top="network: {allow_http: true}").url == "http://127.0.0.1:8080/x"


def test_secrets_become_keys():
    assert webhook(secret=f"secret: {PLAIN}").signing_keys == (PLAIN.encode(),)
    assert webhook(secret=f"secret: {WHSEC.rstrip('=')}").signing_keys == (KEY,)
    assert webhook(secret=f"secret: [{WHSEC}, {PLAIN}]").signing_keys == (KEY, PLAIN.encode())


def test_secrets_from_files(tmp_path):
    (tmp_path / "new").write_text(f"{WHSEC}\n")
    (tmp_path / "old").write_text(f"{PLAIN}\n\n")
    made = webhook(secret="secret_file: [new, '${DIR}/old']", environ={"DIR": str(tmp_path)}, path=tmp_path / "c.yaml")
    assert made.signing_keys == (KEY, f"{PLAIN}\n".encode())


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        ("auth: {bearer_file: it}", ("Authorization", "Bearer held")),
        ("auth: {bearer: held}", ("Authorization", "Bearer held")),
        ("auth: {basic: {user: u, password_file: it}}", ("Authorization", "Basic dTpoZWxk")),
        ("auth: {header: {name: X-Api-Key, value_file: it}}", ("X-Api-Key", "held")),
        ("headers: {Authorization: Custom held}", ("Authorization", "Custom held")),
    ],
)
def test_ways_to_authenticate(tmp_path, lines, header):
    (tmp_path / "it").write_text("held\r\n")
    assert webhook(lines, path=tmp_path / "c.yaml").request_headers() == dict([header])


def test_the_dsn_from_a_file_and_the_daemons_role(tmp_path):
    (tmp_path / "dsn").write_text("postgresql://cdc%2Dhooks:pw@db/shop\n")
    made = config("database: {dsn_file: dsn, admin_dsn: user=owner}\nwebhooks:", path=tmp_path / "c.yaml")
    assert made.database.role == "cdc-hooks"
    assert made.database.admin_dsn.get_secret_value() == "user=owner"
    assert made.webhooks == {}


def test_without_a_user_the_role_is_libpqs(monkeypatch):
    monkeypatch.setenv("PGUSER", "somebody")
    assert whole("").database.role == "somebody"


def test_variables_are_taken_as_they_are():
    made = webhook(
        'client_code: "${CODE}"\nheaders: {X-A: "${X:-${}", X-B: "$${CODE}"}'.replace("${X:-${}", "${X:-d}"),
        environ={"CODE": "a: [b"},
    )
    assert made.client_code == "a: [b"
    assert made.headers == {"X-A": "d", "X-B": "${CODE}"}


def test_a_secret_in_a_variable():
    assert webhook(secret="secret: ${S}", environ={"S": WHSEC}).signing_keys == (KEY,)


def test_anchors_and_merged_mappings():
    made = config(
        "database: {dsn: dbname=shop}\n"
        "webhooks:\n"
        f"  a: &a {{url: 'https://a.example', secret: {PLAIN}, tables: &t [public.orders], concurrency: 2}}\n"
        "  b:\n    <<: *a\n    url: https://b.example\n    tables: *t\n"
    )
    assert made.webhooks["b"] == made.webhooks["a"].model_copy(update={"url": "https://b.example"})


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfdatabase: {dsn: dbname=shop}\r\nwebhooks:\r\n")
    assert load(path, {}).webhooks == {}


def test_configurations_are_frozen_and_comparable():
    made = whole("")
    with pytest.raises(ValueError, match="frozen"):
        made.log = None  # type: ignore[misc]
    assert made == whole("")


def test_nothing_shown_is_secret(tmp_path):
    (tmp_path / "token").write_text("SECRET")
    made = config(
        "database: {dsn: 'postgresql://me:SECRET@db/shop?sslpassword=SECRET'}\n"
        "webhooks:\n  w:\n    url: https://a.example/x?token=SECRET\n    secret: SECRETSECRETSECRET\n"
        "    tables: public.orders\n"
        "    auth: {bearer_file: token}\n    headers: {X-Key: SECRET}\n    retry: {schedule: 90s}\n"
        "notify:\n  webhook: {url: 'https://a.example/x?token=SECRET', secret: SECRETSECRETSECRET,"
        " headers: {X-Key: SECRET}}\n"
        "  email: {host: mail.example, from: a@b.example, to: c@d.example, user: me, password_file: token}\n",
        path=tmp_path / "c.yaml",
    )
    shown = redacted(made)
    assert "SECRET" not in repr(shown)
    assert "SECRET" not in repr(made).replace("x?token=SECRET", "").replace("'X-Key': 'SECRET'", "")
    assert shown["database"]["dsn"] == "user=me dbname=shop host=db"
    assert shown["notify"]["email"]["from"] == "a@b.example"
    assert shown["webhooks"]["w"]["retry"]["schedule"] == ["1m30s"]
    assert shown["webhooks"]["w"]["batch"]["max_bytes"] == "256KiB"


def test_missing_unreadable_and_strange_files(tmp_path):
    def said(path):
        with pytest.raises(ConfigError) as error:
            load(path, {})
        return str(error.value)

    assert "nothere.yaml: there is no such file\n  hint: name another with -c FILE" in said(tmp_path / "nothere.yaml")
    assert "this is a directory" in said(tmp_path)
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    assert "empty.yaml: the file is empty\n  hint: start from config.example.yaml" in said(empty)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: b\nc: \xe4\n")
    assert f"{latin}:2: not UTF-8 text" in said(latin)
    assert "cannot be read: Not a directory" in said(empty / "below")


PRESET = """
database: {{dsn: dbname=shop}}
webhooks:
  w: {{url: https://a.example/, secret: 0123456789abcdef, tables: [public.orders], preset: {preset}{more}}}
"""


def preset(name, more=""):
    return parse(PRESET.format(preset=name, more=more), Path("config.yaml"), {}).webhooks["w"]


def test_presets_reproduce_known_senders():
    once = preset("fire-and-forget")
    assert (once.timeout.total, once.timeout.connect) == (5, 5)
    assert (once.retry.schedule, once.retry.on_exhausted, once.breaker) == ((5,), "drop", None)
    five = preset("five-strikes")
    assert five.success_statuses == {200, 201}
    assert (five.retry.max_attempts, five.retry.on_exhausted, five.breaker) == (5, "pause", None)
    patient = preset("patient")
    assert patient.retry.schedule == (60, 300, 1800, 7200, 43200)
    assert (patient.retry.on_exhausted, patient.pause_after, patient.breaker) == ("dead_letter", 10, None)


def test_what_is_given_comes_before_what_a_preset_says():
    webhook = preset("fire-and-forget", ", timeout: {total: 30s}, retry: {schedule: [1s, 2s]}, breaker: {failures: 3}")
    assert (webhook.timeout.total, webhook.timeout.connect) == (30, 5)
    assert (webhook.retry.schedule, webhook.retry.on_exhausted) == ((1, 2), "drop")
    assert webhook.breaker is not None
    assert webhook.breaker.failures == 3


def test_a_breaker_is_there_unless_it_is_off():
    assert preset("patient", ", breaker: {}").breaker is not None
    assert parse(PRESET.format(preset="", more=", breaker: off"), Path("c"), {}).webhooks["w"].breaker is None
    assert parse(PRESET.format(preset="", more=""), Path("c"), {}).webhooks["w"].breaker is not None


def test_statuses_are_written_as_numbers_and_ranges():
    assert preset("patient", ", success: [200, 202-204, '409']").success_statuses == {200, 202, 203, 204, 409}
