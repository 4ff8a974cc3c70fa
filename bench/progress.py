"""What the benchmark is doing now, on stderr."""

from __future__ import annotations

import sys
import time

_begun = time.monotonic()


def say(what: str) -> None:
    print(f"[{time.monotonic() - _begun:7.1f} s] {what}", file=sys.stderr, flush=True)
