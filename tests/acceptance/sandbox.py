"""Runs a program under the seccomp filters that systemd makes of a unit, with no capabilities.

python -m tests.acceptance.sandbox UNIT PROGRAM ARGUMENT...

What the unit says of files, devices and users is left to systemd: it changes what a program sees, not what it may call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000
_LESS, _EQUAL, _GREATER, _MASKED_EQUAL = 2, 4, 6, 7
_PROT_WRITE, _PROT_EXEC = 2, 4


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


class Filter:
    """A filter of libseccomp's, which refuses calls with an errno or allows them."""

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(otherwise))

    def add(self, action: int, call: str, *comparison: int) -> None:
        """``comparison``: which argument, the operator, and what it is compared with. Unknown calls are passed over."""
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return
        wanted = (_Comparison * 1)(_Comparison(*comparison))
        failed = self._library.seccomp_rule_add_array(
            self._context, action, number, 1 if comparison else 0, wanted if comparison else None
        )
        assert not failed, (call, failed)

    def load(self) -> None:
        failed = self._library.seccomp_load(self._context)
        assert not failed, failed


def restrict(service: Mapping[str, Sequence[str]]) -> None:
    """Put this process, for ever, under the filters of the section [Service]."""
    _memory_and_sockets(service).load()
    calls = Filter(_REFUSE | getattr(errno, service["SystemCallErrorNumber"][0]))
    for call in sorted(_allowed(service["SystemCallFilter"])):
        calls.add(_ALLOW, call)
    calls.load()


def _memory_and_sockets(service: Mapping[str, Sequence[str]]) -> Filter:
    refused = Filter(_ALLOW)
    if service["MemoryDenyWriteExecute"] == ["yes"]:
        both = _PROT_WRITE | _PROT_EXEC
        refused.add(_REFUSE | errno.EPERM, "mmap", 2, _MASKED_EQUAL, both, both)
        refused.add(_REFUSE | errno.EPERM, "mprotect", 2, _MASKED_EQUAL, _PROT_EXEC, _PROT_EXEC)
    families = sorted(getattr(socket, name) for name in service["RestrictAddressFamilies"][0].split())
    no = _REFUSE | errno.EAFNOSUPPORT
    refused.add(no, "socket", 0, _LESS, families[0], 0)
    refused.add(no, "socket", 0, _GREATER, families[-1], 0)
    for family in set(range(families[0], families[-1])) - set(families):
        refused.add(no, "socket", 0, _EQUAL, family, 0)
    return refused


def _allowed(lines: Iterable[str]) -> set[str]:
    allowed: set[str] = set()
    for line in lines:
        calls = {call for name in line.removeprefix("~").split() for call in _expanded(name)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | set(_expanded("@default"))


def _expanded(name: str) -> Iterator[str]:
    """The calls of a group, as systemd knows it."""
    if not name.startswith("@"):
        yield name
        return
    told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    for line in told.stdout.splitlines()[1:]:
        if member := line.partition("#")[0].strip():
            yield from _expanded(member)


def main(unit: str, *command: str) -> None:
    from tests.acceptance.units import service_of

    restrict(service_of(Path(unit)))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
