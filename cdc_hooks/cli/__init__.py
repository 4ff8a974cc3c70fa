"""The command line: commands and exit codes. The only place that prints.

Exit status: 0 fine, 1 failed, 2 usage or configuration, 130 interrupted; ``plan`` 3 when there is something to change.
Results go to stdout, errors and log lines to stderr. What a command needs is imported when it runs, so that each starts
fast.
"""

from cdc_hooks.cli.commands import main

__all__ = ["main"]
