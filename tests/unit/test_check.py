"""What ``check`` says of files and of those who are told, before it comes to the database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from cdc_hooks.cli.checking import Check, Level, checks
from cdc_hooks.config import load

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="cdc-hooks-test-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def found(place: Path, mode: int = 0o600, *, webhook: dict[str, Any] | None = None, **sections: Any) -> list[Check]:
    """The checks of a configuration in a file of this mode."""
    one = {"url": "https://1.1.1.1/", "secret": SECRET, "tables": ["public.orders"], **(webhook or {})}
    document = {"database": {"dsn": "host=127.0.0.1 port=1 user=shop"}, "webhooks": {"w": one}, **sections}
    path = place / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    path.chmod(mode)
    return list(checks(path, load(path, {"S": SECRET, "DSN": "password=secret"})))


def of(checked: list[Check], subject: str) -> Check | None:
    return next((one for one in checked if one.subject == subject), None)


def test_a_file_with_secrets_that_everybody_may_read_is_said(place: Path) -> None:
    said = of(found(place, 0o644), str(place / "config.yaml"))
    assert said is not None
    assert said.level is Level.WARNING
    assert said.message == "everybody on this machine may read it, and it holds secrets: webhooks.w.secret"
    assert f"chmod o= {place}/config.yaml" in (said.hint or "")
    changed = of(found(place, 0o606), str(place / "config.yaml"))
    assert changed is not None
    assert "may read and change it" in changed.message


def test_a_file_that_is_kept_well_or_has_no_secrets_is_not(place: Path) -> None:
    path = str(place / "config.yaml")
    assert of(found(place, 0o640), path) is None
    assert of(found(place, 0o644, webhook={"secret": "${S}"}), path) is None
    assert of(found(place, 0o644, webhook={"secret": "${S}"}, database={"dsn": "${DSN}"}), path) is None
    place.chmod(0o750)
    assert of(found(place, 0o644), path) is None


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"database": {"dsn": "host=127.0.0.1 port=1 user=shop password=secret"}}, "database.dsn"),
        ({"database": {"dsn": "postgresql://shop:secret@127.0.0.1:1/"}}, "database.dsn"),
        ({"webhook": {"secret": ["${S}", SECRET + "x" * 4]}}, "webhooks.w.secret"),
        ({"webhook": {"secret": "${S}", "auth": {"basic": {"user": "a", "password": "b"}}}}, "auth.basic.password"),
        ({"metrics": {"token": "token-of-a-scraper"}}, "metrics.token"),
        (
            {
                "notify": {
                    "email": {"host": "127.0.0.1", "user": "a", "password": "b", "from": "a@b.example", "to": "a@b.c"}
                }
            },
            "notify.email.password",
        ),
    ],
)
def test_secrets_are_found_wherever_they_stand(place: Path, sections: dict[str, Any], key: str) -> None:
    said = of(found(place, 0o644, **sections), str(place / "config.yaml"))
    assert said is not None
    assert key in said.message
    assert SECRET not in said.message


def test_files_of_secrets_are_looked_at_too(place: Path) -> None:
    files = {place / name: text for name, text in (("token", "t" * 20), ("well-kept", "u" * 20))}
    for file, text in files.items():
        file.write_text(text)
        file.chmod(0o644)
    (place / "well-kept").chmod(0o640)
    checked = found(
        place, 0o644, webhook={"secret": "${S}", "auth": {"bearer_file": "token"}}, metrics={"token_file": "well-kept"}
    )
    assert of(checked, str(place / "config.yaml")) is None
    assert of(checked, str(place / "well-kept")) is None
    said = of(checked, str(place / "token"))
    assert said is not None
    assert said.message.endswith("holds secrets: webhooks.w.auth.bearer_file")


def test_the_key_of_a_client_certificate_is_looked_at_too(place: Path) -> None:
    certificate = trustme.CA().issue_cert("shop.example")
    certificate.private_key_pem.write_to_path(place / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(place / "cert.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(place / "both.pem")
    for file in place.iterdir():
        file.chmod(0o644)
    apart = {"secret": "${S}", "client_cert_file": "cert.pem", "client_key_file": "key.pem"}
    checked = found(place, webhook=apart)
    said = of(checked, str(place / "key.pem"))
    assert said is not None
    assert said.message.endswith("holds secrets: webhooks.w.client_key_file")
    assert of(checked, str(place / "cert.pem")) is None
    assert of(found(place, webhook={"secret": "${S}", "client_cert_file": "both.pem"}), str(place / "both.pem"))


MAIL = {"host": "127.0.0.1", "tls": "none", "from": "a@shop.example", "to": ["b@shop.example", "c@shop.example"]}


def test_those_who_are_told_are_said(place: Path) -> None:
    notify = {"webhook": {"url": "https://1.1.1.1/hook?key=k", "secret": SECRET}, "email": MAIL}
    checked = found(place, notify=notify)
    webhook, email = of(checked, "notify.webhook"), of(checked, "notify.email")
    assert webhook is not None
    assert email is not None
    assert (webhook.level, email.level) == (Level.OK, Level.OK)
    assert "events go to https://1.1.1.1/hook" in webhook.message
    assert "key=k" not in webhook.message
    assert email.message.startswith("mail to b@shop.example, c@shop.example goes by 127.0.0.1:25;")
    assert [one.subject for one in found(place) if one.subject.startswith("notify")] == []


def test_those_who_cannot_be_told_are_said(place: Path) -> None:
    notify = {
        "webhook": {"url": "https://169.254.169.254/", "secret": SECRET},
        "email": {**MAIL, "host": "mail.invalid"},
    }
    checked = found(place, notify=notify)
    webhook, email = of(checked, "notify.webhook"), of(checked, "notify.email")
    assert webhook is not None
    assert email is not None
    assert webhook.level is Level.ERROR
    assert "requests will be refused: 169.254.169.254 is a metadata service" in webhook.message
    assert "network: {allow" in (webhook.hint or "")
    assert email.level is Level.WARNING
    assert "mail.invalid cannot be resolved now" in email.message
