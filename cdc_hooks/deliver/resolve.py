"""From a host to the addresses that a connection may be made to. The edge to the system's resolver."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address

from aiohappyeyeballs import AddrInfoType

from cdc_hooks.addresses import Address, Rules, literal
from cdc_hooks.deliver.faults import NoConnection, plain
from cdc_hooks.deliver.outcome import Failure

MOST_ADDRESSES = 64
Resolver = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]
"""From a host and a port to addresses, as those of ``socket.getaddrinfo``. Raises OSError and NoConnection."""
LookUp = Callable[[str, int], Sequence[AddrInfoType]]
"""The same, blocking."""
# An error is an answer, too: as the future's exception it would be complained of where nobody waits for it any more.
_Found = Sequence[AddrInfoType] | Exception


def system_look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """The addresses of a name, as this machine resolves names."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Lookups:
    """Looks names up for one webhook; what it costs when the system's resolver hangs is one thread.

    A lookup cannot be called off. So each is in a thread of its own, which nobody waits for at the end of the process,
    and who wants a name that is being looked up waits for the same answer.
    """

    def __init__(self, look_up: LookUp = system_look_up) -> None:
        self._look_up = look_up
        self._running: dict[tuple[str, int], asyncio.Future[_Found]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """The addresses of a host. Raises OSError, and NoConnection for a host that only looks like an address."""
        try:
            address = literal(host)
        except ValueError as error:
            raise NoConnection(Failure.FORBIDDEN, f"{plain(host)}: {error}") from None
        if address is not None:
            return [_as_answer(address, port)]
        running = self._running.get((host, port))
        if running is None:
            running = self._begin(host, port)
        found = await asyncio.shield(running)
        if isinstance(found, Exception):
            raise found
        return found

    def _begin(self, host: str, port: int) -> asyncio.Future[_Found]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Found] = loop.create_future()

        def look_up() -> None:
            found: _Found
            try:
                found = self._look_up(host, port)
            except Exception as error:  # noqa: BLE001 - told to those who wait
                found = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(arrive, found)

        def arrive(found: _Found) -> None:
            del self._running[host, port]
            answer.set_result(found)

        try:
            threading.Thread(target=look_up, name=f"lookup {host}", daemon=True).start()
        except RuntimeError as error:  # this machine has no more threads for us
            raise OSError(str(error)) from error
        self._running[host, port] = answer
        return answer


def vetted(rules: Rules, resolver: Resolver) -> Resolver:
    """The same resolver, which raises NoConnection where the rules refuse any of its answers.

    Of very many answers it gives the first ones, and looks at no others: with thousands of them a stranger's DNS would
    hold up all webhooks at each connection.
    """

    async def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
        found = (await resolver(host, port))[:MOST_ADDRESSES]
        for _, _, _, _, to in found:
            why = rules.refusal(host, ip_address(to[0]), to[1], is_ours)
            if why is not None:
                raise NoConnection(Failure.FORBIDDEN, why)
        return found

    return resolve


def is_ours(address: Address) -> bool:
    """Whether an address is one of this machine's."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))  # only an address of one's own can be bound to
        except OSError:
            return False
        return True


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _as_answer(address: Address, port: int) -> AddrInfoType:
    to = (str(address), port) if address.version == 4 else (str(address), port, 0, 0)
    return _family(address), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", to
