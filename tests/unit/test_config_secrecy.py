"""What is shown of connection strings, URLs and keys has no secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import conninfo

from cdc_hooks.config.dsn import parse_dsn, show_dsn
from cdc_hooks.config.load import parse
from cdc_hooks.config.redact import MASK, show_url
from cdc_hooks.errors import ConfigError


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://shop:wo@hunter22@db.example/shop",
        "postgresql://shop:hunter22/wo@db.example/shop",
        "postgres://shop:12/hunter22@db.example/shop",
        "postgresql://shop:wo@hunter22/wo@db.example/shop",
        "postgresql://shop:wo@hunter22,x@db.example/shop",
        "postgresql://shop:hunter22%wo@db.example/shop",
        "host=db.example password=wo hunter22 dbname=shop",
        "host=db.example password='hunter22",
    ],
)
def test_a_password_that_is_not_encoded_is_refused_and_not_quoted(dsn):
    """libpq takes a part of most of these for a host, port or database, which errors then name."""
    for look in (parse_dsn, show_dsn):
        with pytest.raises(ValueError, match="connection string") as caught:
            look(dsn)
        assert "hunter22" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://shop:hunter%4022@db.example:5432/shop", "user=shop dbname=shop host=db.example port=5432"),
        ("postgresql://shop:hun?ter#22@db.example/shop", "user=shop dbname=shop host=db.example"),
        ("postgresql://shop:p@one,two:5433/shop?sslmode=require", "user=shop dbname=shop host=one,two port=,5433 sslm"),
        ("postgresql://shop@[::1]:5432/a%40b", "user=shop dbname=a@b host=::1 port=5432"),
        ("postgresql:///shop?host=/run/postgresql&password=hunter22", "dbname=shop host=/run/postgresql"),
        (
            "host=db.example user=shop@tenant password=hunter22 dbname=a@b",
            "user=shop@tenant dbname=a@b host=db.example",
        ),
        ("user=shop passfile=/hunter22 sslpassword=hunter22 sslkey=hunter22", "user=shop"),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_database(dsn, shown):
    assert show_dsn(dsn).startswith(shown)
    assert "hunter" not in show_dsn(dsn)
    assert parse_dsn(dsn) == {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/hook", "https://a.example/hook"),
        ("https://a.example/hook?token=hunter22", f"https://a.example/hook?{MASK}"),
        ("https://shop:hunter22@a.example:8443/", f"https://{MASK}@a.example:8443/"),
        ("//hunter22@a.example/", f"//{MASK}@a.example/"),
        ("/elsewhere?token=hunter22#hunter22", f"/elsewhere?{MASK}#{MASK}"),
        ("https://[hunter22/", MASK),
        ("", ""),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert show_url(url) == shown


FLOW = "database: {{dsn: dbname=a}}\nwebhooks: {{w: {{url: 'https://a.example', tables: [a.b], {wrong}}}}}"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("secret:hunter22hunter22", "webhooks.w[secret:…]: unknown key; put a space behind the colon"),
        ("secret=hunter22hunter22: x", "webhooks.w[secret=…]: unknown key"),
        ("headers: {X-Api-Key:hunter22: x}", "webhooks.w.headers[X-Api-Key:…]: 'X-Api-Key:…' is not a header's name"),
        ("auth: {'bearer: hunter22': x}", "webhooks.w.auth[bearer:…]: unknown key"),
        ("headers: {X-Api-Key hunter22}", "webhooks.w.headers[X-Api-Key …]: 'X-Api-Key …' is not a header's name"),
        ("auth: {bearer hunter22}", "webhooks.w.auth[bearer …]: unknown key"),
        ("secret_file: whsec_hunter22", "webhooks.w.secret_file: the file cannot be read: No such file or directory"),
        (
            f"secret_file: whsec_{50 * 'hunter22'}",
            "webhooks.w.secret_file: the file cannot be read: File name too long",
        ),
        ("secret_file: hunter22/hunter22", "webhooks.w.secret_file: the file cannot be read: No such file"),
        ("auth: {bearer_file: [hunter22]}", "webhooks.w.auth.bearer_file: "),
        ('client_cert_file: "BEGIN\\nhunter22"', "webhooks.w.client_cert_file: a file's path is wanted here, not what"),
        ('ca_file: "BEGIN\\nhunter22"', "webhooks.w.ca_file: a file's path is wanted here, not what is in the file"),
        (
            "client_key_file: -----BEGIN PRIVATE KEY----- hunter22",
            "webhooks.w.client_key_file: a file's path is wanted",
        ),
        ("secret: 'hunter22:'", "webhooks.w.secret: the secret is too short"),
        ("secret: []", "webhooks.w.secret: the list is empty"),
    ],
)
def test_a_value_that_stuck_to_its_key_is_not_told(wrong, told):
    with pytest.raises(ConfigError) as caught:
        parse(FLOW.format(wrong=wrong), Path("c.yaml"), {})
    assert f"c.yaml:2: {told}" in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_a_mail_servers_login_in_its_host_is_not_told():
    text = (
        "database: {dsn: dbname=a}\nwebhooks: {}\n"
        "notify: {email: {host: 'smtps://me:hunter22@mail.example', from: a@b.example, to: a@b.example}}"
    )
    with pytest.raises(ConfigError, match=r"notify\.email\.host: this is not a host") as caught:
        parse(text, Path("c.yaml"), {})
    assert "hunter22" not in str(caught.value)


def test_a_tables_name_is_told_whole():
    with pytest.raises(ConfigError, match=r'tables\[public."a:b"\].kye: unknown key; did you mean key'):
        parse("""database: {dsn: dbname=a}\nwebhooks: {}\ntables: {'public."a:b"': {kye: [id]}}""", Path("c.yaml"), {})


@pytest.mark.parametrize("section", ["{listen: ':1', token: ''}", "{token: a\u00e4}", "{token: x, token_file: f}"])
def test_a_token_that_cannot_be_sent_is_refused(section, tmp_path):
    (tmp_path / "f").write_text("hunter22\n")
    with pytest.raises(ConfigError, match=r"metrics\.token"):
        parse(f"database: {{dsn: dbname=a}}\nwebhooks: {{}}\nmetrics: {section}", tmp_path / "c.yaml", {})


def test_a_token_from_a_file_is_not_shown(tmp_path):
    (tmp_path / "f").write_text("hunter22\n")
    text = "database: {dsn: dbname=a}\nwebhooks: {}\nmetrics: {token_file: f}"
    metrics = parse(text, tmp_path / "c.yaml", {}).metrics
    assert metrics.token.get_secret_value() == "hunter22"
    assert "hunter22" not in repr(metrics)
