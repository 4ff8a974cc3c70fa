"""Durations and sizes as people write them: ``1h30m`` is 5400 seconds, ``256KiB`` is 262144 bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "KiB": 2**10,
    "MB": 10**6,
    "MiB": 2**20,
    "GB": 10**9,
    "GiB": 2**30,
    "TB": 10**12,
    "TiB": 2**40,
}
_NUMBER = r"\d+(?:\.\d+)?"
_PART = re.compile(rf"({_NUMBER})(ms|[dhms])")
_SIZE = re.compile(rf"({_NUMBER})\s?({'|'.join(_BYTES)})")


def parse_duration(text: str) -> float:
    """Seconds of ``250ms``, ``5s``, ``1h30m`` or ``2d``; a bare ``0`` is fine. ValueError says what is wrong."""
    given = text.strip()
    if given == "0":
        return 0.0
    parts = _PART.findall(given)
    if not parts or "".join(number + unit for number, unit in parts) != given:
        if re.fullmatch(_NUMBER, given):
            raise ValueError(f"{text!r} has no unit; did you mean {given}s?")
        raise ValueError(f"{text!r} is not a duration; write it as 250ms, 5s, 1m, 1h30m or 2d")
    units = [unit for _, unit in parts]
    if units != [unit for unit in _SECONDS if unit in units]:
        raise ValueError(f"{text!r} is not a duration; give each unit once, the largest first, as in 1h30m")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in parts), 9)


def parse_size(text: str) -> int:
    """Bytes of ``512B``, ``256KiB`` or ``10MB``; a bare ``0`` is fine. ValueError says what is wrong."""
    given = text.strip()
    if given == "0":
        return 0
    found = _SIZE.fullmatch(given)
    if found is None:
        raise ValueError(_why_no_size(text))
    return int(float(found[1]) * _BYTES[found[2]])


def _why_no_size(text: str) -> str:
    given = text.strip()
    if re.fullmatch(_NUMBER, given):
        return f"{text!r} has no unit; did you mean {given}B?"
    close = re.fullmatch(rf"({_NUMBER})\s?([kmgt])(?:i?b)?", given, re.IGNORECASE)
    if close:
        return f"{text!r} is not a size; did you mean {close[1]}{close[2].upper()}iB?"
    return f"{text!r} is not a size; write it as 512B, 256KiB, 10MB or 1GiB"


def format_duration(seconds: float) -> str:
    """The shortest way to write it: 5400.0 is ``1h30m``. The inverse of :func:`parse_duration`, to the millisecond."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    text = ""
    for unit, size in _SECONDS.items():
        count, left = divmod(left, round(size * 1000))
        text += f"{count}{unit}" if count else ""
    return text


def format_size(size: int) -> str:
    """The shortest exact way to write it: 262144 is ``256KiB``. The inverse of :func:`parse_size`."""
    fitting: Mapping[str, int] = {unit: n for unit, n in _BYTES.items() if n <= size and size % n == 0 and unit != "KB"}
    if not fitting:
        return f"{size}B"
    unit = max(fitting, key=lambda name: fitting[name])
    return f"{size // fitting[unit]}{unit}"


def rough_size(size: int) -> str:
    """To two digits or more, to be read: 12884901889 is ``12GiB``."""
    unit = next((unit for unit in (2**30, 2**20, 2**10) if size >= 10 * unit), 1)
    return format_size(size // unit * unit)
