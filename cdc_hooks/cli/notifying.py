"""``notify test``: whether those who would be told of trouble can be reached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from cdc_hooks import assembly
from cdc_hooks.cli.output import print_table
from cdc_hooks.errors import ConfigError
from cdc_hooks.ops.notices.notices import channels_of, try_out

if TYPE_CHECKING:
    from cdc_hooks.config import Config


def try_channels(config: Config) -> int:
    """Send a test on each channel now, and say what came of it; the exit status."""
    channels = channels_of(config.notify, lambda: assembly.notice_sender(config))
    if not channels:
        raise ConfigError(
            "nobody is told of anything: notify has neither webhook nor email",
            hint="give one of them; docs/notices.md shows how",
        )

    async def attempts() -> list[tuple[bool, str]]:
        return await asyncio.gather(*(try_out(send) for send in channels.values()))

    came = asyncio.run(attempts())
    rows = [[name, "ok" if ok else "error", said] for name, (ok, said) in zip(channels, came, strict=True)]
    print_table(["channel", "", "what came of it"], rows, sentences=True)
    if not all(ok for ok, _ in came):
        click.echo("hint: look at the section notify of the configuration, and whether the other side is up")
        return 1
    return 0
