"""The ``cdc-hooks`` command, also as ``python -m cdc_hooks``."""

import signal


def main() -> None:
    """Load the command line and run it. Ctrl-C while it loads ends the process without a word: nothing is begun yet."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cdc_hooks.cli import main as run  # noqa: PLC0415

    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, usual)
    run(prog_name="cdc-hooks")


if __name__ == "__main__":
    main()
