"""``secret new``, ``show`` and ``rotate``. What is fresh is printed, once; what is configured never is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks.cli.output import print_json, print_table
from cdc_hooks.cli.program import Session, config_option, json_option
from cdc_hooks.config.choosing import webhook_of

if TYPE_CHECKING:
    pass


@click.group()
def secret() -> None:
    """The secrets that sign requests: make one, see which are active, change one without losing a delivery."""


@secret.command()
@json_option
@click.option("--ed25519", is_flag=True, help="A private key (whsk_…), and the public one for receivers (whpk_…).")
def new(*, ed25519: bool, as_json: bool) -> int:
    """Print a fresh secret."""
    from cdc_hooks.cli.rotating import Fresh  # noqa: PLC0415

    fresh = Fresh.make(ed25519=ed25519)
    if as_json:
        print_json(fresh.as_data())
    elif fresh.public is None:
        click.echo(fresh.secret)
    else:
        click.echo(f"private: {fresh.secret}\npublic:  {fresh.public}")
    return 0


@secret.command()
@click.argument("name", required=False, metavar="[WEBHOOK]")
@config_option
@json_option
@click.pass_obj
def show(session: Session, name: str | None, *, as_json: bool) -> int:
    """Say which secrets are active: fingerprints and public keys, never the secrets."""
    from cdc_hooks.cli.rotating import described  # noqa: PLC0415

    config = session.config()
    webhooks = config.webhooks if name is None else {name: webhook_of(config, name)}
    found: list[dict[str, Any]] = [
        {"webhook": one, **about} for one, webhook in webhooks.items() for about in described(webhook.signing_keys)
    ]
    if as_json:
        print_json(found)
        return 0
    print_table(
        ["webhook", "fingerprint", "scheme", "makes the body's hmac", "public key"],
        [
            [one["webhook"], one["fingerprint"], one["scheme"], "yes" if one["hmac"] else "no", one["public"] or "-"]
            for one in found
        ],
    )
    return 0


@secret.command()
@click.argument("name", metavar="WEBHOOK")
@config_option
@json_option
@click.option("--old", metavar="FINGERPRINT", help="The secret that is to go: checks the order, and how far it is.")
@click.option("--ed25519", is_flag=True, help="The private key for Ed25519, where there is another secret, too.")
@click.pass_obj
def rotate(session: Session, name: str, old: str | None, *, ed25519: bool, as_json: bool) -> int:
    """Say what the next step is in changing a secret, and check the last one. Changes nothing itself."""
    from cdc_hooks.cli import rotating  # noqa: PLC0415
    from cdc_hooks.config import as_written  # noqa: PLC0415

    if old is not None and not re.fullmatch(r"[0-9a-f]{8}", old):
        raise click.UsageError("--old wants a fingerprint: eight hex digits, as cdc-hooks secret show prints them.")
    config = session.config()
    webhook = webhook_of(config, name)
    keys = webhook.signing_keys
    scheme = rotating.scheme(keys, ed25519=ed25519)
    stage = rotating.stage_of(keys, scheme, old)
    written = rotating.Written.of(as_written(session.path).data, name, keys)
    advice = rotating.advise(stage, written, webhook=name, path=session.path)
    if as_json:
        print_json(advice.as_data())
    else:
        click.echo(advice.text())
    return 1 if stage.problem else 0
