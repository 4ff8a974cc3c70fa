"""``python -m cdc_hooks``: the same as the ``cdc-hooks`` command."""

from cdc_hooks.cli import main

if __name__ == "__main__":
    main(prog_name="cdc-hooks")
