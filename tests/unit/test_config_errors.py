"""Every error names file, line and place, says what is wrong, and never the secret."""

import os
import tempfile
from pathlib import Path

import pytest

from cdc_hooks.config.load import parse
from cdc_hooks.errors import ConfigError

PLAIN = "0123456789abcdef"
HOOK = f"{{url: 'https://a.example', secret: {PLAIN}}}"
# A complete file whose parts are replaced by name. Line 5 is the webhook's first.
LINES = {
    "database": "database: {dsn: dbname=shop}",
    "network": "network: {allow_http: false}",
    "webhooks": "webhooks:",
    "w": "  w:",
    "url": "    url: https://a.example",
    "secret": f"    secret: {PLAIN}",
    "tables": "    tables: {public.orders: {fields: [id, card]}}",
    "more": "    concurrency: 1",
    "rules": "tables: {public.orders: {level: row}}",
    "end": "log: {level: info}",
}
NUMBER = {name: number for number, name in enumerate(LINES, 1)}


def told(text, environ=None):
    with pytest.raises(ConfigError) as error:
        parse(text, Path("config.yaml"), environ or {})
    assert PLAIN not in str(error.value)
    return str(error.value).splitlines()


def file_with(**lines):
    return "\n".join((LINES | lines).values()) + "\n"


def test_the_file_is_right_without_changes():
    parse(file_with(), Path("config.yaml"), {})


@pytest.mark.parametrize(
    ("name", "line", "what"),
    [
        # the database
        ("database", "database: {dsnn: x, dsn: dbname=a}", "database.dsnn: unknown key; did you mean dsn?"),
        ("database", "database: {owner_role: x}", "database.dsn: give dsn or dsn_file"),
        ("database", "database: {dsn: }", "database.dsn: give dsn or dsn_file"),
        ("database", "database: {dsn: ''}", "database.dsn: the value is empty"),
        ("database", "database: {dsn: 'host=a wrong'}", "database.dsn: not a connection string; write postgresql://"),
        ("database", "database: {dsn: 'postgres//u:p@h/d'}", "database.dsn: not a connection string"),
        (
            "database",
            "database: {dsn: dbname=a, dsn_file: f}",
            "database.dsn_file: the file cannot be read: No such file",
        ),
        ("database", "database: {dsn: dbname=a, dsn_file: /dev/null}", "database.dsn_file: /dev/null is empty"),
        ("database", "database: dbname=shop", "database: a mapping is wanted here"),
        ("database", "databse: {dsn: dbname=a}", "databse: unknown key; did you mean database?"),
        # who is told
        ("end", "notify: {emial: {}}", "notify.emial: unknown key; did you mean email?"),
        ("end", "notify: {interval: 2h}", "notify: nobody is told: give webhook or email, or leave notify out"),
        ("end", f"notify: {{on: [], webhook: {HOOK}}}", "notify.on: the list is empty: nothing is told"),
        ("end", f"notify: {{on: pausd, webhook: {HOOK}}}", "did you mean paused?"),
        ("end", f"notify: {{interval: 5, webhook: {HOOK}}}", "notify.interval: '5' has no unit"),
        ("end", "notify: {webhook: {url: 'https://a.example'}}", "notify.webhook.secret: give secret or secret_file"),
        (
            "end",
            f"notify: {{webhook: {{url: 'http://a.example', secret: {PLAIN}}}}}",
            "notify.webhook.url: http:// sends data and tokens in the clear",
        ),
        (
            "end",
            f"notify: {{webhook: {{url: 'https://a.example', secret: {PLAIN}, headers: {{X-A: b, x-a: c}}}}}}",
            "notify.webhook.headers: x-a is named twice",
        ),
        ("end", "notify: {email: {host: m, from: a@b, to: []}}", "notify.email.to: the list is empty: nobody would"),
        ("end", "notify: {email: {host: m, from: a@b}}", "notify.email.to: this key is required"),
        ("end", "notify: {email: {host: m, to: a@b}}", "notify.email.from: this key is required"),
        ("end", "notify: {email: {host: m, from_: a@b, from: a@b, to: a@b}}", "notify.email.from_: unknown key"),
        ("end", "notify: {email: {host: m, fromm: a@b, from: a@b, to: a@b}}", "fromm: unknown key; did you mean from?"),
        ("end", "notify: {email: {host: m, from: ops, to: a@b}}", "notify.email.from: this is not an e-mail address"),
        ("end", "notify: {email: {host: m, from: a@b, to: [a@b, 'x <c@d>']}}", "notify.email.to[1]: this is not an e-"),
        (
            "end",
            'notify: {email: {host: m, from: a@b, to: "a@b\\nBcc: c@d"}}',
            "notify.email.to: this is not an e-mail",
        ),
        ("end", "notify: {email: {host: m, from: a@b, to: [a@b, a@b]}}", "notify.email.to: a@b is named twice"),
        ("end", "notify: {email: {host: 'm:25', from: a@b, to: a@b}}", "notify.email.host: this is not a host"),
        ("end", "notify: {email: {host: m, port: 0, from: a@b, to: a@b}}", "notify.email.port: at least 1 is wanted"),
        ("end", "notify: {email: {host: m, tls: ssl, from: a@b, to: a@b}}", "starttls, tls or none is wanted"),
        (
            "end",
            f"notify: {{email: {{host: m, from: a@b, to: a@b, password: {PLAIN}}}}}",
            "notify.email.password: there is a password without a user",
        ),
        (
            "end",
            "notify: {email: {host: m, from: a@b, to: a@b, user: cdc}}",
            "notify.email.user: there is a user without a password",
        ),
        (
            "end",
            f"notify: {{email: {{host: m, from: a@b, to: a@b, tls: none, user: cdc, password: {PLAIN}}}}}",
            "notify.email.tls: the password would travel in the clear",
        ),
        # the network
        ("network", "network: {allow_http: perhaps}", "network.allow_http: true or false is wanted here"),
        (
            "network",
            "network: {allow: [10.0.0.1/8]}",
            "network.allow[0]: '10.0.0.1/8' has bits set beyond its prefix; did you mean 10.0.0.0/8?",
        ),
        ("network", "network: {allow: ['fe80::1%eth0']}", "network.allow[0]: 'fe80::1%eth0' has a zone"),
        ("network", "network: {allow: ['fe80::%eth0/10']}", "network.allow[0]: 'fe80::%eth0/10' has a zone"),
        ("network", "network: {allow: [a, 300.0.0.1]}", "network.allow[1]: '300.0.0.1' is neither a network"),
        ("network", "network: {allow: 10.0.0.0/40}", "network.allow: '10.0.0.0/40' is neither a network"),
        ("network", "network: {allow: ['http://a']}", "network.allow[0]: 'http://a' is neither a network"),
        # a webhook
        ("w", "  Bad Name:", "webhooks[Bad …]: a webhook's name has 1 to 63 small letters"),
        (
            "url",
            "    url: a.example/x",
            "webhooks.w.url: the URL has no scheme; did you forget https:// at its beginning?",
        ),
        ("url", "    url: HTTP://a.example", "webhooks.w.url: http:// sends data and tokens in the clear"),
        ("url", "    url: http://a.example", "webhooks.w.url: http:// sends data and tokens in the clear"),
        ("url", "    url: ftp://a.example", "webhooks.w.url: the scheme is ftp; https is wanted"),
        ("url", "    url: https:///x", "webhooks.w.url: the URL has no host"),
        ("url", "    url: https://a.example:99999", "webhooks.w.url: the URL's host or port is malformed"),
        ("url", "    url: https://u:p@a.example", "webhooks.w.url: the URL has a user or a password in it"),
        ("url", "    url: https://a.example/#x", "webhooks.w.url: the URL has a fragment"),
        ("url", "    url: https://ä.example", "webhooks.w.url: a URL has only printable ASCII characters"),
        ("url", "    url:", "webhooks.w.url: this key has no value; give one, or leave the key out"),
        ("url", "    urll: https://a.example", "webhooks.w.urll: unknown key; did you mean url?"),
        ("secret", "    secret: short", "webhooks.w.secret: the secret is too short: 5 bytes, at least 16 are wanted"),
        (
            "secret",
            "    secret: whsec_c2hvcnQ=",
            "webhooks.w.secret: the secret is too short: 5 bytes decoded, at least 24",
        ),
        ("secret", "    secret: whsec_no*base64", "webhooks.w.secret: what follows whsec_ in the secret is not base64"),
        ("secret", f"    secret: [{PLAIN}, short]", "webhooks.w.secret[1]: the secret is too short"),
        ("secret", f"    secret: {{a: {PLAIN}}}", "webhooks.w.secret: a list is wanted here"),
        ("secret", "    secret: ${NONE}", "webhooks.w.secret: environment variable NONE is not set"),
        ("secret", "    secret: '${NONE'", "webhooks.w.secret: '${' begins a variable"),
        ("secret", "    secret_file: nothere", "webhooks.w.secret_file: the file cannot be read: No such file"),
        ("secret", "    secret_file: /nothere", "webhooks.w.secret_file: /nothere cannot be read: No such file"),
        ("secret", "    secret_file: /", "webhooks.w.secret_file: / cannot be read: Is a directory"),
        ("secret", "    secret_file: /dev/zero", "webhooks.w.secret_file: /dev/zero is larger than 65536 bytes"),
        ("tables", "    tables: {}", "webhooks.w.tables: name at least one"),
        ("tables", "    tables: [orders]", "webhooks.w.tables: 'orders' has no schema; did you mean public.orders?"),
        (
            "tables",
            "    tables: {orders: }",
            "webhooks.w.tables.orders: 'orders' has no schema; did you mean public.orders?",
        ),
        ("tables", "    tables: {a.b.c: }", "webhooks.w.tables[a.b.c]: 'a.b.c' has 3 parts"),
        ("tables", "    tables: {a.b: , A.B: }", "webhooks.w.tables: a.b and A.B are the same table"),
        (
            "tables",
            "    tables: {a.b: {actions: [updat]}}",
            "tables[a.b].actions[0]: insert, update, delete or truncate is wanted; did you mean update?",
        ),
        ("tables", "    tables: {a.b: {actions: updat}}", "tables[a.b].actions: insert, update, delete or truncate is"),
        ("tables", "    tables: {a.b: {actions: []}}", "tables[a.b].actions: the list is empty"),
        ("tables", "    tables: {a.b: {actions: [insert, insert]}}", "tables[a.b].actions: insert is named twice"),
        ("tables", "    tables: {a.b: {fields: [id, id]}}", "tables[a.b].fields: id is named twice"),
        ("tables", "    tables: {a.b: {field: [id]}}", "tables[a.b].field: unknown key; did you mean fields?"),
        ("tables", "    tables: {a.b: insert}", "tables[a.b]: a mapping is wanted here"),
        # the rest of a webhook
        ("more", "    batch: {max_event: 5}", "webhooks.w.batch.max_event: unknown key; did you mean max_events?"),
        ("more", "    batch: {max-events: 5}", "webhooks.w.batch.max-events: unknown key; did you mean max_events?"),
        ("more", "    batch: {max_events: 0}", "webhooks.w.batch.max_events: at least 1 is wanted"),
        ("more", "    batch: {max_events: 1001}", "webhooks.w.batch.max_events: at most 1000 is wanted"),
        ("more", "    batch: {max_events: many}", "webhooks.w.batch.max_events: a whole number is wanted here"),
        ("more", "    batch: {max_bytes: 256}", "webhooks.w.batch.max_bytes: '256' has no unit; did you mean 256B?"),
        ("more", "    batch: {max_bytes: 1B}", "webhooks.w.batch.max_bytes: at least 1KiB is wanted"),
        ("more", "    batch: {max_wait: 5}", "webhooks.w.batch.max_wait: '5' has no unit; did you mean 5s?"),
        ("more", "    ordering: keys", "webhooks.w.ordering: key, strict or none is wanted; did you mean key?"),
        ("more", "    concurrency: 65", "webhooks.w.concurrency: at most 64 is wanted"),
        ("more", "    timeout: {connect: 0s}", "webhooks.w.timeout.connect: more than 0s is wanted"),
        ("more", "    timeout: {connect: 30s}", "webhooks.w.timeout.connect: longer than total (20s), the time"),
        ("more", "    timeout: {total: 0s}", "webhooks.w.timeout.total: more than 0s is wanted"),
        ("more", "    timeout: {total: soon}", "webhooks.w.timeout.total: 'soon' is not a duration"),
        ("more", "    retry: {schedule: [5s, soon]}", "webhooks.w.retry.schedule[1]: 'soon' is not a duration"),
        ("more", "    retry: {jitter: 2}", "webhooks.w.retry.jitter: at most 1 is wanted"),
        ("more", "    retry: {on_exhausted: stop}", "on_exhausted: dead_letter, pause or drop is wanted; did you mean"),
        ("more", "    retry: {schedule: [], max_attempts: 2}", "max_attempts: more than one attempt wants a pause in"),
        ("more", "    success: [200, 2xx]", "webhooks.w.success[1]: a status or a range of them is wanted"),
        ("more", "    success: [299-200]", "webhooks.w.success[0]: a status or a range of them is wanted"),
        ("more", "    success: [100-200]", "webhooks.w.success[0]: a status or a range of them is wanted"),
        ("more", "    success: []", "webhooks.w.success: the list is empty"),
        ("more", "    preset: five-strike", "webhooks.w.preset: fire-and-forget, five-strikes or patient is"),
        ("more", "    preset: [patient]", "webhooks.w.preset: "),
        ("more", "    breaker: {pause: 10m}", "webhooks.w.breaker.pause: longer than longest_pause (5m)"),
        ("more", "    breaker: sometimes", "webhooks.w.breaker: a mapping is wanted here"),
        ("more", "    breaker: {failures: 0}", "webhooks.w.breaker.failures: at least 1 is wanted"),
        ("more", "    rate_limit: 0", "webhooks.w.rate_limit: more than 0 is wanted"),
        ("more", "    auth: {}", "webhooks.w.auth: give exactly one of bearer, basic and header"),
        (
            "more",
            "    auth: {bearer: a, header: {name: X, value: b}}",
            "webhooks.w.auth: give exactly one of bearer, basic and header, not bearer and header",
        ),
        ("more", '    auth: {bearer: "a\\nb"}', "webhooks.w.auth.bearer: a header's value has only printable ASCII"),
        ("more", "    auth: {bearer_file: nothere}", "webhooks.w.auth.bearer_file: the file cannot be read"),
        ("more", "    auth: {basic: {user: u}}", "webhooks.w.auth.basic.password: give password or password_file"),
        ("more", "    auth: {basic: {user: 'a:b', password: p}}", "webhooks.w.auth.basic.user: the user name of basic"),
        (
            "more",
            "    auth: {header: {name: Webhook-Id, value: b}}",
            "webhooks.w.auth.header.name: Webhook-Id is set by cdc-hooks itself",
        ),
        (
            "more",
            "    headers: {CDC-Hooks-Test: 'true'}",
            "CDC-Hooks-Test is set by cdc-hooks itself",
        ),
        ("more", '    headers: {X-A: "a\\r\\nb"}', "webhooks.w.headers.X-A: a header's value has only printable ASCII"),
        ("more", "    headers: {'X A': a}", "webhooks.w.headers[X …]: 'X …' is not a header's name"),
        (
            "more",
            "    headers: {Content-Type: a}",
            "webhooks.w.headers.Content-Type: Content-Type is set by cdc-hooks itself",
        ),
        (
            "more",
            "    headers: {webhook-signature: a}",
            "webhooks.w.headers.webhook-signature: webhook-signature is set by",
        ),
        ("more", "    headers: {X-A: a, x-a: b}", "webhooks.w.headers.x-a: the header x-a is given twice"),
        ("more", "    headers: {X-A: [a]}", "webhooks.w.headers.X-A: a single value is wanted here"),
        ("more", "    ca_file: nothere.pem", "webhooks.w.ca_file: nothere.pem cannot be read: No such file"),
        ("more", f"    ca_file: {__file__}", "holds no certificates in PEM form"),
        ("more", "    start: later", "webhooks.w.start: now or earliest is wanted"),
        ("more", "    on: yes", "webhooks.w.on: unknown key"),
        ("more", "    enabled: true", "webhooks.w.enabled: unknown key"),
        ("tables", "    tables: {public.orders: {fields: []}}", "fields: no webhook wants a column of this table"),
        # the DBA's say, and the rest
        (
            "rules",
            "tables: {public.orders: {exclude: [card]}}",
            "fields: column card is excluded at tables.public.orders.exclude",
        ),
        (
            "rules",
            "tables: {Public.Orders: {exclude: [card]}}",
            "fields: column card is excluded at tables.public.orders.exclude",
        ),
        ("rules", "tables: {public.orders: {key: []}}", "tables[public.orders].key: the list is empty"),
        ("rules", "tables: {public.orders: {when: ' '}}", "tables[public.orders].when: the condition is empty"),
        ("rules", "tables: {public.orders: {when: [a]}}", "tables[public.orders].when: a single value is wanted here"),
        (
            "rules",
            "tables: {public.orders: {when: {updat: a}}}",
            "tables[public.orders].when.updat: insert, update, delete or truncate is wanted; did you mean update?",
        ),
        (
            "rules",
            "tables: {public.orders: {level: statment}}",
            "tables[public.orders].level: row or statement is wanted; did you mean statement?",
        ),
        ("end", "change_log: {history: forever}", "change_log.history: 'forever' is not a duration"),
        ("end", "change_log: {max_bytes: 1MiB}", "change_log.max_bytes: at least 64MiB is wanted"),
        (
            "end",
            "change_log: {when_full: drop}",
            "change_log.when_full: hold or drop_oldest is wanted; did you mean drop_oldest?",
        ),
        ("end", "metrics: {listen: 9464}", "metrics.listen: '9464' is not an address to listen on"),
        ("end", "metrics: {listen: '::1:9464'}", "metrics.listen: '::1:9464': put an IPv6 address in brackets"),
        ("end", "log: {level: verbose}", "log.level: debug, info, warning or error is wanted"),
        ("end", "log: {1: {}}", "log.1: unknown key"),
        # YAML that is valid and yet not what it seems
        ("end", "log: {level: info, level: debug}", "log.level: this key is already on line 10"),
        ("end", "log: {level: !!python/name:os.system x}", "log.level: a value that begins with ! is a tag, not text"),
        ("end", "log: {[a]: b}", "log: a key must be a plain word"),
        ("end", "log: &l {level: *l}", "log.level: this alias contains itself"),
        ("end", "log: &l {<<: *l}", "log: this alias contains itself"),
        ("end", "log: {<<: x}", "log: << wants a mapping"),
        # what is no YAML
        ("end", "log: {level: info", "not YAML: expected ',' or '}'"),
        ("end", "log: level: info", "put a value that contains ': ' in double quotes"),
        ("end", "\tlog: x", "indent with spaces, not with tabs"),
        ("end", "log: @x", "put a value that begins with @ in double quotes"),
        ("end", "log: *nowhere", "not YAML: found undefined alias"),
        ("end", "log: \x07", "the character U+0007 may not stand in a YAML file"),
        ("end", "---\nlog: x", "not YAML: "),
    ],
)
def test_what_is_wrong_is_told_with_its_line(name, line, what):
    errors = told(file_with(**{name: line}))
    wanted = next(error for error in errors if what in error)
    number = NUMBER["tables"] if "is excluded at" in what else NUMBER[name]
    off_by_one = {number, number + 1} if what.startswith("not YAML") else {number}
    assert int(wanted.split(":")[1]) in off_by_one
    assert wanted.startswith("config.yaml:")
    # One mistake, one message; a key that is misspelt is also missing.
    assert len(errors) == (2 if "unknown key" in what and name in {"url", "database"} and "dsnn" not in what else 1)


def test_all_errors_at_once_in_the_order_of_the_lines():
    text = file_with(
        database="database: {dsn: '${DSN}', owner: x}",
        url="    url: http://a.example",
        secret="    secret: '${SECRET}'",
        more="    concurrency: 100\n    batch: {max_event: 5}",
        rules="tables: {public.orders: {exclude: [card]}}",
        end="logs: {}",
    )
    assert "\n".join(told(text)) == (
        "config.yaml:1: database.dsn: environment variable DSN is not set\n"
        "config.yaml:1: database.owner: unknown key; did you mean owner_role?\n"
        "config.yaml:5: webhooks.w.url: http:// sends data and tokens in the clear; "
        "use https://, or say network: {allow_http: true}\n"
        "config.yaml:6: webhooks.w.secret: environment variable SECRET is not set\n"
        "config.yaml:7: webhooks.w.tables[public.orders].fields: "
        "column card is excluded at tables.public.orders.exclude\n"
        "config.yaml:8: webhooks.w.concurrency: at most 64 is wanted\n"
        "config.yaml:9: webhooks.w.batch.max_event: unknown key; did you mean max_events?\n"
        "config.yaml:11: logs: unknown key; did you mean log?"
    )


def test_sections_that_are_right_are_compared_although_others_are_wrong():
    text = file_with(
        url="    url: http://a.example", rules="tables: {public.orders: {exclude: [card]}}", end="logs: {}"
    )
    assert [error.split(":")[1] for error in told(text)] == ["5", "7", "10"]


def test_both_a_value_and_a_file(tmp_path):
    (tmp_path / "s").write_text("another-secret-of-20")
    text = file_with(secret=f"    secret: {PLAIN}\n    secret_file: {tmp_path / 's'}")
    assert told(text) == ["config.yaml:6: webhooks.w.secret: give secret or secret_file, not both"]


def test_a_secret_in_a_file_that_is_too_short(tmp_path):
    (tmp_path / "s").write_text("short\n")
    text = file_with(secret=f"    secret_file: {tmp_path / 's'}")
    (error,) = told(text)
    assert error.startswith("config.yaml:6: webhooks.w.secret_file: the secret is too short: 5 bytes")


@pytest.fixture
def not_root():
    """Root may read everything, so the test is run with the rights of nobody."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    yield
    os.seteuid(me)


def test_a_file_that_may_not_be_read(not_root):
    with tempfile.NamedTemporaryFile() as secret:  # tmp_path is root's alone
        Path(secret.name).chmod(0)
        (error,) = told(file_with(secret=f"    secret_file: {secret.name}"))
    assert "cannot be read: Permission denied" in error


@pytest.mark.parametrize("mark", ["*", "!", "&", "@", "%", "[", "{", "'", '"', "- ", "a: b: ", ": "])
def test_a_secret_that_yaml_takes_for_something_else_is_not_told(mark):
    with pytest.raises(ConfigError) as error:
        parse(file_with(secret=f"    secret: {mark}HUSH-hush-HUSH-hush"), Path("config.yaml"), {})
    assert "HUSH" not in str(error.value)
    assert error.value.__cause__ is None


def test_no_cause_holds_a_secret():
    secret = "tooshort-sec"
    with pytest.raises(ConfigError) as error:
        parse(file_with(secret=f"    secret: {secret}"), Path("config.yaml"), {})
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__
    assert secret not in str(error.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "42\n"])
def test_a_file_that_is_no_mapping(text):
    assert told(text) == ["config.yaml:1: a mapping is wanted here: keys with values"]


def test_a_webhook_that_is_no_mapping():
    text = "database: {dsn: dbname=a}\nwebhooks: {w: https://a.example}\n"
    assert told(text) == ["config.yaml:2: webhooks.w: a mapping is wanted here: keys with values"]


def test_nested_too_deeply():
    assert told("a: " + "[" * 5000) == ["config.yaml:1: nested too deeply"]
