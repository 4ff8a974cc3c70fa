"""A small internet of a test's own: public addresses that lead to this machine, and a name server.

It is a network namespace with nothing but a loopback interface; whatever the calling thread starts is in it. The daemon
and the commands ask by way of the system's resolver, with a resolv.conf of their own in a mount namespace of theirs.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from ipaddress import ip_address
from pathlib import Path

from tests.conftest import need

# Networks of which each address leads here: those of example.com, which are public, and some that are not.
_HERE = ("93.184.215.0/24", "10.0.0.0/8", "169.254.0.0/16")
# With a second one of this machine's, for to go there: without, an IPv6 address would be the last choice.
PUBLIC_6 = "2606:2800:21f:cb07::14"
_OURS_6 = "2606:2800:21f:cb07::1"
_CLONE_NEWNET = 0x40000000
_NAME_SERVER = "127.0.0.53"
_FILES = {
    "resolv.conf": f"nameserver {_NAME_SERVER}\nsearch .\noptions timeout:1 attempts:1\n",
    "nsswitch.conf": "hosts: files dns\n",
    "hosts": "127.0.0.1 localhost\n",
}
_MOUNT_THEM = 'for file in "$0"/*; do mount --bind "$file" "/etc/${file##*/}" || exit; done; exec "$@"'


def public(number: int) -> str:
    return f"93.184.215.{number}"


@contextmanager
def own_network() -> Iterator[None]:
    """The calling thread, and what it starts meanwhile, are in it."""
    need("a network of one's own", os.geteuid() == 0 and shutil.which("ip"))
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as home:
        _check(libc.unshare(_CLONE_NEWNET))
        try:
            _ip("link", "set", "lo", "up")
            for network in _HERE:
                _ip("route", "add", "local", network, "dev", "lo")
            for address in (_OURS_6, PUBLIC_6):
                _ip("-6", "addr", "add", f"{address}/128", "dev", "lo")
            yield
        finally:
            _check(libc.setns(home.fileno(), _CLONE_NEWNET))


def _check(status: int) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(*args: str) -> None:
    subprocess.run([str(shutil.which("ip")), *args], check=True)


def command(directory: Path) -> list[str]:
    """What runs cdc-hooks so that it asks the name server; the files for that are put into ``directory``."""
    directory.mkdir()
    for name, content in _FILES.items():
        (directory / name).write_text(content)
    own_files = ["unshare", "--mount", "sh", "-c", _MOUNT_THEM, str(directory)]
    return [*own_files, sys.executable, "-m", "cdc_hooks"]


class Rcode(IntEnum):
    """What a name server says instead of an answer."""

    SERVFAIL = 2
    NXDOMAIN = 3
    REFUSED = 5


SILENCE = "silence"
Said = list[str] | Rcode | str
"""Addresses of both families, or a code, or SILENCE."""


class NameServer:
    """Answers from ``names``, which may change at any time: each answer is for this question only (its TTL is 0)."""

    def __init__(self) -> None:
        self.names: dict[str, Said] = {}
        self.by_turns: dict[str, list[list[str]]] = {}
        """Of these names, another answer to each question."""
        self.asked: Counter[str] = Counter()
        """How often for the IPv4 addresses of each name."""

    def serve(self, udp: socket.socket) -> None:
        """Until the socket is shut down."""
        while question := udp.recvfrom(512):
            asked, sender = question
            if not asked:
                return
            answer = self._answer(asked)
            if answer:
                udp.sendto(answer, sender)

    def _answer(self, asked: bytes) -> bytes:
        labels, at = [], 12
        while asked[at]:
            labels.append(asked[at + 1 : at + 1 + asked[at]].decode())
            at += 1 + asked[at]
        (kind,) = struct.unpack_from("!H", asked, at + 1)
        said = self._said(".".join(labels).lower(), kind)
        if said == SILENCE:
            return b""
        addresses = [ip_address(one) for one in said] if isinstance(said, list) else []
        version = {1: 4, 28: 6}.get(kind)
        records = [one.packed for one in addresses if one.version == version]
        code = said if isinstance(said, Rcode) else 0
        head = asked[:2] + struct.pack("!5H", 0x8180 | code, 1, len(records), 0, 0)
        body = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(one)) + one for one in records)
        return head + asked[12 : at + 5] + body

    def _said(self, name: str, kind: int) -> Said:
        turns = self.by_turns.get(name)
        if kind == 1:
            self.asked[name] += 1
        if turns:
            return turns[self.asked[name] % len(turns)]
        return self.names.get(name, Rcode.NXDOMAIN)


@contextmanager
def name_server() -> Iterator[NameServer]:
    """Where ``command`` looks for it."""
    server = NameServer()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((_NAME_SERVER, 53))
        thread = threading.Thread(target=server.serve, args=(udp,), name="name server")
        thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (_NAME_SERVER, 53))
            thread.join()


@contextmanager
def forbidden_ground(*hosts: str, port: int = 80) -> Iterator[None]:
    """Listens there; in the end nobody may have come."""
    listeners = [socket.create_server((host, port), family=_family(host)) for host in hosts]
    try:
        yield
        for listener in listeners:
            listener.setblocking(False)
            try:
                _, come = listener.accept()
            except BlockingIOError:
                continue
            raise AssertionError(f"somebody came from {come} to {listener.getsockname()}")
    finally:
        for listener in listeners:
            listener.close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
