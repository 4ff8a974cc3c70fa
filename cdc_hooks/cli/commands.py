"""The commands. Each says what it needs, calls the room that does the work, and shows the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import structlog
from rich.console import Console

from cdc_hooks import __version__
from cdc_hooks.cli.connect import admin_dsn, connected
from cdc_hooks.cli.deliveries import deliveries
from cdc_hooks.cli.output import confirmed
from cdc_hooks.cli.program import RATE, Program, Session, config_option, dsn_option, json_option
from cdc_hooks.cli.secrets import secret
from cdc_hooks.config import warnings
from cdc_hooks.config.choosing import webhook_of
from cdc_hooks.errors import CdcHooksError
from cdc_hooks.model import Action
from cdc_hooks.ops.row_key import WAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANGES = 3
"""Exit status of ``plan`` where there is something to change."""


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="cdc-hooks %(version)s")
@config_option
def main() -> None:
    """Change data capture for PostgreSQL: row changes as signed webhook batches."""


main.add_command(deliveries)


@main.command()
@config_option
@json_option
@click.pass_obj
def check(session: Session, *, as_json: bool) -> int:
    """Say whether the configuration and the database are right. Reads only."""
    from cdc_hooks.cli import checking  # noqa: PLC0415

    config = session.config()
    return checking.show(session.path, config, list(checking.checks(session.path, config)), as_json=as_json)


@main.command()
@config_option
@dsn_option
@json_option
@click.option("--sql", "as_sql", is_flag=True, help="Print the script that apply would run, for psql.")
@click.pass_obj
def plan(session: Session, dsn: str | None, *, as_json: bool, as_sql: bool) -> int:
    """Say what apply would change in the database. Exit status 3 if there is something."""
    if as_json and as_sql:
        raise click.UsageError("--json and --sql cannot be used together.")
    from cdc_hooks.cli import capturing  # noqa: PLC0415

    config = session.config()
    with connected(admin_dsn(dsn, config.database)) as connection:
        planned = capturing.plan(connection, config)
    capturing.show(planned, as_json=as_json, as_sql=as_sql)
    return CHANGES if planned else 0


@main.command()
@config_option
@dsn_option
@click.pass_obj
def apply(session: Session, dsn: str | None) -> int:
    """Create and update the schema, the capture functions and the triggers. Safe to run again at any point."""
    from cdc_hooks.cli import capturing  # noqa: PLC0415

    config = session.config()
    with connected(admin_dsn(dsn, config.database)) as connection:
        capturing.apply(connection, config)
    return 0


@main.command()
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
@config_option
@dsn_option
@click.option("--all", "everything", is_flag=True, help="All captures, and the schema cdc_hooks with the change log.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(session: Session, tables: Sequence[str], dsn: str | None, *, everything: bool, yes: bool) -> int:
    """Remove the capture of tables, or, with --all, everything that cdc-hooks has put into the database."""
    if bool(tables) == everything:
        raise click.UsageError("Name the tables, or say --all.")
    from cdc_hooks.cli import capturing  # noqa: PLC0415

    config = session.config()
    with connected(admin_dsn(dsn, config.database)) as connection:
        what = "everything, and the changes that were not delivered yet" if everything else ", ".join(tables)
        if not yes and not confirmed(f"Remove {what} from {connection.info.dbname}?"):
            return 1
        capturing.remove(connection, config, None if everything else tables)
    return 0


@main.command()
@config_option
@click.pass_obj
def run(session: Session) -> int:
    """Deliver changes until stopped. SIGHUP reloads the configuration."""
    from cdc_hooks import daemon  # noqa: PLC0415
    from cdc_hooks.ops import logs  # noqa: PLC0415

    config = session.config()
    logs.configure(config.log.level.value, config.log.format.value)
    log = structlog.get_logger()
    for warning in warnings(config):
        log.warning("configuration", reason=warning)
    try:
        return daemon.run(config, session.path)
    except CdcHooksError as error:
        # Who collects the log must find in it, in its form, why there is no daemon any more.
        log.critical("ended", error=error.message, hint=error.hint)
        return error.exit_status


@main.command()
@config_option
@json_option
@click.option("--watch", is_flag=True, help="Show it on the terminal until Ctrl-C, with graphs of lag and rate.")
@click.option("--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds, for --watch.")
@click.pass_obj
def status(session: Session, *, as_json: bool, watch: bool, every: float) -> int:
    """Say how each webhook is, how far behind, and what is in its way."""
    from cdc_hooks.cli import capturing, showing, watching  # noqa: PLC0415

    config = session.config()
    if watch:
        console = Console()
        if as_json or not console.is_terminal:
            raise click.UsageError("--watch wants a terminal, and not --json.")
        watching.watch(config, console, every)
        return 0
    with connected(config.database.dsn.get_secret_value()) as connection:
        report = capturing.report_of(connection, config)
    showing.show(report, as_json=as_json)
    return 0


@main.command("test")
@click.argument("webhook")
@config_option
@click.option("--table", metavar="TABLE", help="One of the webhook's tables. Else its first.")
@click.option(
    "--action", type=click.Choice([str(one) for one in Action]), help="One of the table's actions. Else its first."
)
@click.option("--row", metavar="KEY", help=f"Send this row as it stands: {WAYS}. Needs SELECT on the table.")
@click.option("--data", type=click.File("rb"), metavar="FILE", help="Send this row, a JSON object; - is stdin.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="So many events of the row.")
@click.option("--dry-run", is_flag=True, help="Show the request, and send nothing.")
@dsn_option
@json_option
@click.pass_obj
def try_out(session: Session, /, **options: Any) -> int:
    """Send a webhook a signed test, and say whether it would count as delivered. Without options a made-up row.

    It is marked by the header cdc-hooks-test. Nothing is recorded of it.
    """
    if options["row"] is not None and options["data"] is not None:
        raise click.UsageError("--row and --data cannot be used together.")
    from cdc_hooks.cli import trying  # noqa: PLC0415

    return trying.run(session.config(), trying.Wish(**options))


@main.command()
@click.argument("webhook")
@click.option("--reason", default="by an operator", show_default=True, help="What status says about it.")
@config_option
@click.pass_obj
def pause(session: Session, webhook: str, reason: str) -> int:
    """Send nothing more to a webhook, and keep its place, until it is resumed."""
    from cdc_hooks.cli import controlling  # noqa: PLC0415

    controlling.pause(session.config(), webhook, reason)
    return 0


@main.command()
@click.argument("webhook")
@click.option("--from", "begin", metavar="now|TIME|EVENT", help="Go on from there: leave out the rest, or send again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@click.pass_obj
def resume(session: Session, webhook: str, begin: str | None, *, yes: bool) -> int:
    """Go on with a webhook now: end its pause, and try again at once what waits for another attempt."""
    from cdc_hooks.cli import controlling  # noqa: PLC0415

    config = session.config()
    webhook_of(config, webhook)
    place = controlling.Place() if begin is None else controlling.place_of(config, begin)
    question = f"Have {webhook} go on{place.words}? What lies between is left out, or sent again."
    if begin is not None and not yes and not confirmed(question):
        return 1
    controlling.resume(config, webhook, place)
    return 0


@main.command()
@click.argument("webhook")
@click.option("--from", "begin", metavar="TIME", required=True, help="2h ago, or 2026-11-21T10:00 (UTC).")
@click.option("--to", "end", metavar="TIME", help="Up to this time; else up to now.")
@click.option("--table", metavar="TABLE", help="Only changes of this table.")
@click.option("--after", metavar="EVENT", help="Only what comes after this event: to go on with a replay that stopped.")
@click.option("--rate", type=RATE, metavar="N", help="At most so many requests a second.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@click.pass_obj
def replay(session: Session, /, webhook: str, *, rate: float | None, yes: bool, **when: Any) -> int:
    """Send changes again that the log still has, each body marked as a replay, beside what the daemon sends."""
    from cdc_hooks.cli import replaying  # noqa: PLC0415

    config = session.config()
    return replaying.replay(config, replaying.Wish.of(config, webhook, **when), rate, ask=not yes)


@main.group()
@config_option
def notify() -> None:
    """Those who are told when something needs a person."""


@notify.command("test")
@config_option
@click.pass_obj
def notify_test(session: Session) -> int:
    """Send a test notice on each configured channel now, and say whether it got through."""
    from cdc_hooks.cli import notifying  # noqa: PLC0415

    return notifying.try_channels(session.config())


@main.command()
@config_option
@dsn_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def rebase(session: Session, dsn: str | None, *, yes: bool) -> int:
    """Start afresh in a database restored from another cluster's dump, with a gap recorded for each webhook."""
    from cdc_hooks import changelog  # noqa: PLC0415

    config = session.config()
    with connected(admin_dsn(dsn, config.database)) as connection:
        question = f"Leave all changes that were not delivered in {connection.info.dbname} behind?"
        if not yes and not confirmed(question):
            return 1
        click.echo(changelog.rebase(connection))
    return 0


main.add_command(secret)


@main.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=10, show_default=True, help="How long to write.")
def demo(seconds: float) -> int:
    """Show it working: a database, a daemon and a receiver of its own, on this machine, and nothing left behind."""
    from cdc_hooks.demo import show  # noqa: PLC0415

    return show.run(seconds)
