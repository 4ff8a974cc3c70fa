"""The configuration of proxies, client certificates and hosts, and what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from cdc_hooks.addresses import Rules
from cdc_hooks.config import load, redacted
from cdc_hooks.config.load import parse
from cdc_hooks.deliver.proxy import Proxy
from cdc_hooks.errors import ConfigError
from cdc_hooks.reach import Reach

PLAIN = "0123456789abcdef"
PASSWORD = "hunter22"


def text_of(webhook="", network="", url="https://a.example"):
    lines = "".join(f"    {line}\n" for line in webhook.splitlines())
    more = "".join(f"  {line}\n" for line in network.splitlines())
    return (
        f"database: {{dsn: dbname=shop}}\nwebhooks:\n  w:\n    url: '{url}'\n    secret: {PLAIN}\n"
        f"    tables: [public.orders]\n{lines}" + (f"network:\n{more}" if more else "")
    )


def config(webhook="", network="", **options):
    return parse(text_of(webhook, network, **options), Path("config.yaml"), {})


def told(*args, **options):
    with pytest.raises(ConfigError) as error:
        config(*args, **options)
    assert PASSWORD not in str(error.value)
    return str(error.value)


def proxy_of(webhook="", network=""):
    made = config(webhook, network)
    return Reach.of(made).proxy_of(made.webhooks["w"])


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("https://0x7f.1/x", "unusual spelling"),
        ("https://2130706433/x", "the host is a number"),
        ("https://127.1", "unusual spelling"),
        ("https://0177.0.0.1:8443/x", "unusual spelling"),
        ("https://127.0.0.1./x", "unusual spelling"),
        ("https://127%2e0.0.1/x", "a '%' in it"),
    ],
)
def test_addresses_are_written_in_their_usual_spelling(url, what):
    said = told(url=url)
    assert said.startswith("config.yaml:4: webhooks.w.url: the host ")
    assert what in said
    assert "write an address as 192.0.2.1 or [2001:db8::1]" in said


@pytest.mark.parametrize("url", ["https://[fe80::1%eth0]/x", "https://[fe80::1%25eth0]/x"])
def test_zones_are_refused(url):  # which newer versions of Python call malformed themselves
    assert told(url=url).startswith("config.yaml:4: webhooks.w.url: the ")


@pytest.mark.parametrize("url", ["https://127.0.0.1/x", "https://[::1]:8443/x", "https://1.example/x"])
def test_other_hosts_are_right(url):
    assert config(url=url).webhooks["w"].url == url


AUTH = f"proxy_auth: {{user: shop, password: {PASSWORD}}}"
BASIC = "Basic c2hvcDpodW50ZXIyMg=="
SHARED = Proxy("proxy.example", 3128, BASIC)


@pytest.mark.parametrize(
    ("webhook", "network", "proxy"),
    [
        ("", "", None),
        ("", "proxy: http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("", f"proxy: http://proxy.example:3128/\n{AUTH}", SHARED),
        ("proxy: none", f"proxy: http://proxy.example:3128\n{AUTH}", None),
        # What is meant for one proxy is not told to another.
        ("proxy: http://[::1]:8080", f"proxy: http://proxy.example:3128\n{AUTH}", Proxy("::1", 8080)),
        (f"proxy: http://10.0.0.1:8080\n{AUTH}", "", Proxy("10.0.0.1", 8080, BASIC)),
    ],
)
def test_which_proxy_a_webhook_has(webhook, network, proxy):
    assert proxy_of(webhook, network) == proxy


@pytest.mark.parametrize("where", ["webhook", "network"])
@pytest.mark.parametrize(
    ("lines", "key", "what"),
    [
        ("proxy: https://proxy.example:3128", "proxy", "a proxy is written http://host:port; https:// receivers are"),
        ("proxy: proxy.example:3128", "proxy", "a proxy is written http://host:port"),
        ("proxy: http://proxy.example", "proxy", "with its port and without a path"),
        ("proxy: http://proxy.example:3128/x", "proxy", "with its port and without a path"),
        ("proxy: http://proxy.example:99999", "proxy", "the proxy's host or port is malformed"),
        (f"proxy: http://shop:{PASSWORD}@proxy.example:3128", "proxy", "give them as proxy_auth: {user: "),
        ("proxy: http://127.1:3128", "proxy", "unusual spelling"),
        ("proxy: 'http://a b:3128'", "proxy", "not a host name"),
        ("proxy:\nproxy_auth: {user: a}", "proxy_auth.password", "give password or password_file"),
        (AUTH, "proxy_auth", "there is no proxy beside it"),
    ],
)
def test_what_is_wrong_with_a_proxy(where, lines, key, what):
    said = told(**{where: lines})
    assert f"{'webhooks.w' if where == 'webhook' else 'network'}.{key}: " in said
    assert what in said
    assert len(said.splitlines()) == 1


def test_none_is_a_word_of_webhooks_only():
    assert "network.proxy: a proxy is written" in told(network="proxy: none")


def test_credentials_of_proxies_are_not_shown():
    made = config(f"proxy: http://10.0.0.1:8080\n{AUTH}", f"proxy: http://proxy.example:3128\n{AUTH}")
    assert PASSWORD not in json.dumps(redacted(made)) + repr(made) + repr(Reach.of(made))
    assert BASIC not in repr(Reach.of(made))


def test_a_reach_is_another_when_the_network_or_the_listener_is():
    first = config(network="allow: [10.0.0.0/8]")
    assert Reach.of(first) == Reach.of(config(network="allow: [10.0.0.0/8]"))
    assert Reach.of(first).rules == Rules.of(("10.0.0.0/8",), "127.0.0.1:9464")
    others = [
        config(network="allow: [10.0.0.0/9]"),
        config(network="allow: [10.0.0.0/8]\nproxy: http://proxy.example:3128"),
        parse(text_of(network="allow: [10.0.0.0/8]") + "metrics: {listen: ':9464'}\n", Path("config.yaml"), {}),
        parse(text_of(network="allow: [10.0.0.0/8]") + "metrics: off\n", Path("config.yaml"), {}),
    ]
    for other in others:
        assert Reach.of(other) != Reach.of(first)


@pytest.fixture(scope="module")
def leaf():
    return trustme.CA().issue_cert("cdc-hooks@shop.example")


def encrypted(leaf):
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD.encode()),
    )


def test_client_certificates(leaf, tmp_path):
    (tmp_path / "both.pem").write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    (tmp_path / "client.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (tmp_path / "client.key").write_bytes(leaf.private_key_pem.bytes())
    path = tmp_path / "config.yaml"
    path.write_text(text_of("client_cert_file: both.pem"))
    assert load(path, {}).webhooks["w"].client_cert_file == tmp_path / "both.pem"
    path.write_text(text_of("client_cert_file: client.pem\nclient_key_file: client.key"))
    assert load(path, {}).webhooks["w"].client_key_file == tmp_path / "client.key"


def test_what_is_wrong_with_a_client_certificate(leaf, tmp_path):
    files = {
        "client.pem": leaf.cert_chain_pems[0].bytes(),
        "client.key": leaf.private_key_pem.bytes(),
        "other.key": trustme.CA().issue_cert("x@shop.example").private_key_pem.bytes(),
        "encrypted.key": encrypted(leaf),
        "broken.pem": b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
        "empty": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    at = tmp_path
    mistakes = {
        "client_cert_file: nothere.pem": f"client_cert_file: {at}/nothere.pem cannot be read: No such file",
        "client_cert_file: empty": f"client_cert_file: {at}/empty holds no certificate in PEM form",
        "client_cert_file: client.key": f"client_cert_file: {at}/client.key holds no certificate in PEM form",
        "client_cert_file: client.pem": f"{at}/client.pem holds no private key in PEM form; name the file that has it",
        "client_cert_file: client.pem\nclient_key_file: empty": f"{at}/empty holds no private key in PEM form",
        "client_cert_file: client.pem\nclient_key_file: nokey": f"{at}/nokey cannot be read: No such file",
        "client_cert_file: client.pem\nclient_key_file: other.key": (
            f"the private key in {at}/other.key is not that of the certificate in {at}/client.pem"
        ),
        "client_cert_file: client.pem\nclient_key_file: encrypted.key": (
            f"the private key in {at}/encrypted.key is encrypted; store it without a password"
        ),
        "client_cert_file: broken.pem\nclient_key_file: client.key": f"{at}/broken.pem and its private key in",
        "client_key_file: client.key": "client_key_file: a key without its certificate; give client_cert_file, too",
    }
    path = tmp_path / "config.yaml"
    for lines, what in mistakes.items():
        path.write_text(text_of(lines))
        with pytest.raises(ConfigError) as error:
            load(path, {})
        assert f"{path}:7: webhooks.w.client_" in str(error.value), lines
        assert what in str(error.value), lines
        assert len(str(error.value).splitlines()) == 1
