"""Which addresses requests may go to. Pure: a table, and what the configuration allows nevertheless.

The table is explicit, because what ``ipaddress`` calls global differs between versions of Python, and includes
addresses that lead to this machine, its neighbours or a cloud's metadata service. It has the special-purpose registries
of IANA, the metadata services, and the forms of IPv6 that carry an address of IPv4. What it does not have is public.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple, Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA = "a metadata service"
_EMBEDS = "an IPv6 form of an IPv4 address"

# Network → what it is. The narrowest network that holds an address says what the address is.
_TABLE = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared address space",
    "100.100.100.200/32": _METADATA,  # Alibaba Cloud
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": _METADATA,  # Azure
    "169.254.0.0/16": "link-local",
    "169.254.0.23/32": _METADATA,  # Tencent Cloud
    "169.254.42.42/32": _METADATA,  # Scaleway
    "169.254.169.254/32": _METADATA,  # nearly all clouds
    "169.254.170.2/32": _METADATA,  # credentials of AWS containers
    "169.254.170.23/32": _METADATA,  # likewise, in Kubernetes
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.0.192/32": _METADATA,  # Oracle Cloud
    "192.0.2.0/24": "for documentation",
    "192.31.196.0/24": "reserved for AS112",
    "192.52.193.0/24": "reserved for multicast relays",
    "192.88.99.0/24": "reserved for 6to4 relays",
    "192.168.0.0/16": "private",
    "192.175.48.0/24": "reserved for AS112",
    "198.18.0.0/15": "for benchmarking",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "255.255.255.255/32": "broadcast",
    # All of IPv6 but 2000::/3 is not for hosts on the internet, whatever may be defined there some day.
    "::/3": "reserved",
    "4000::/2": "reserved",
    "8000::/1": "reserved",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "::/96": _EMBEDS,
    "::ffff:0:0/96": _EMBEDS,
    "::ffff:0:0:0/96": _EMBEDS,
    "64:ff9b::/96": _EMBEDS,
    "64:ff9b:1::/48": "for translation to IPv4",
    "100::/64": "for discarding",
    "100:0:0:1::/64": "a dummy prefix",
    "2001::/23": "reserved for protocols",
    "2001::/32": _EMBEDS,
    "2001:2::/48": "for benchmarking",
    "2001:db8::/32": "for documentation",
    "2002::/16": _EMBEDS,
    "2620:4f:8000::/48": "reserved for AS112",
    "3fff::/20": "for documentation",
    "5f00::/16": "for segment routing",
    "fc00::/7": "private",
    "fd00:42::42/128": _METADATA,  # Scaleway
    "fd00:a9fe:a9fe::1/128": _METADATA,  # Akamai
    "fd00:c1::a9fe:a9fe/128": _METADATA,  # Oracle Cloud
    "fd00:ec2::23/128": _METADATA,  # credentials of AWS containers in Kubernetes
    "fd00:ec2::254/128": _METADATA,  # AWS
    "fd20:ce::254/128": _METADATA,  # Google Cloud
    "fe80::/10": "link-local",
    "fe80::a9fe:a9fe/128": _METADATA,  # OpenStack
    "fec0::/10": "site-local",
    "ff00::/8": "multicast",
}
# By how many bits the IPv4 address is shifted in those that have one. (In 64:ff9b:1::/48 its place is anyone's choice.)
_SHIFTS = {"::/96": 0, "::ffff:0:0/96": 0, "::ffff:0:0:0/96": 0, "64:ff9b::/96": 0, "2001::/32": 0, "2002::/16": 80}
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_USUAL = "write an address as 192.0.2.1 or [2001:db8::1]"


class Forbidden(NamedTuple):
    """Why an address is forbidden."""

    network: Network
    written: str
    """The network as people write it; newer Pythons write ``::ffff:0.0.0.0/96``."""
    what: str
    inner: IPv4Address | None = None
    """The IPv4 address that it carries."""


def _entries() -> tuple[Forbidden, ...]:
    entries = [Forbidden(ip_network(network), network, what) for network, what in _TABLE.items()]
    return tuple(sorted(entries, key=lambda entry: entry.network.prefixlen, reverse=True))


_ENTRIES = _entries()


def forbidden(address: Address) -> Forbidden | None:
    """Why requests do not go to an address unless it is allowed; None where they do."""
    if isinstance(address, IPv6Address):
        address = IPv6Address(int(address))  # without its zone
        if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
            network = IPv6Network((int(address) >> 32 << 32, 96))
            return Forbidden(network, "ISATAP", _EMBEDS, _ipv4(int(address)))
    for entry in _ENTRIES:
        if address in entry.network:
            shift = _SHIFTS.get(entry.written)
            if shift is None:
                return entry
            carried = ~int(address) if entry.network == _TEREDO else int(address) >> shift
            return entry._replace(inner=_ipv4(carried))
    return None


def _ipv4(bits: int) -> IPv4Address:
    return IPv4Address(bits & 0xFFFF_FFFF)


def literal(host: str) -> Address | None:
    """The address that a URL's host is, without brackets; None for a name.

    ValueError for what some libraries would take for an address (``0x7f.1``, ``2130706433``, ``fe80::1%eth0``).
    """
    if "%" in host:
        raise ValueError(f"the host has a '%' in it: an address with a zone, or a name with escapes; {_USUAL}")
    if ":" not in host and not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return None
    try:
        return ip_address(host)
    except ValueError:
        raise ValueError(f"the host is a number, or an address in an unusual spelling; {_USUAL}") from None


@dataclass(frozen=True)
class Listener:
    """Where we listen ourselves. ``address``: None for all of this machine's, or where only its name is known."""

    address: Address | None
    port: int

    @classmethod
    def of(cls, listen: str) -> Self:
        """From ``metrics.listen``: ``127.0.0.1:9464``, ``[::1]:9464``, ``:9464``."""
        host, _, port = listen.rpartition(":")
        try:
            address = _plain(ip_address(host.strip("[]")))
        except ValueError:
            return cls(None, int(port))
        return cls(None if address.is_unspecified else address, int(port))

    def is_at(self, address: Address, port: int, is_ours: Callable[[Address], bool]) -> bool:
        """Whether a connection to there would reach it. ``is_ours``: whether an address is one of this machine's."""
        if port != self.port:
            return False
        reached = _reached(address)
        return is_ours(reached) if self.address is None else reached == self.address


def _reached(address: Address) -> Address:
    """The system takes an IPv4 address in an IPv6 one as what it is, and the unspecified address as its own."""
    address = _plain(address)
    if address.is_unspecified:
        return ip_address("127.0.0.1" if address.version == 4 else "::1")
    return address


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


@dataclass(frozen=True)
class Rules:
    """What the operator allows, and what is refused in any case."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()
    listener: Listener | None = None

    @classmethod
    def of(cls, allow: tuple[str, ...], listen: str | None) -> Self:
        """From ``network.allow``, whose entries are in their usual spelling, and ``metrics.listen``."""
        networks, names = [], []
        for entry in allow:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                names.append(entry)
        return cls(tuple(networks), frozenset(names), Listener.of(listen) if listen else None)

    def refusal(self, host: str, address: Address, port: int, is_ours: Callable[[Address], bool]) -> str | None:
        """Why no connection is made to ``address``, which is what ``host`` resolves to, and what to do. None: it is."""
        where = host if _is_written_so(host, address) else f"{host} resolves to {address}, which"
        if self.listener is not None and self.listener.is_at(address, port, is_ours):
            return f"{where} is, at port {port}, where cdc-hooks itself listens (metrics.listen)"
        if host.lower().removesuffix(".") in self.names:
            return None
        why = self._forbidden(address)
        if why is None:
            return None
        carried = "" if why.inner is None else f", {why.inner}"
        return (
            f"{where} is {why.what} ({why.written}{carried}); nothing was sent; "
            f"if that is where it should go, allow it in network.allow"
        )

    def _forbidden(self, address: Address) -> Forbidden | None:
        why = forbidden(address)
        if why is None or not any(_opens(network, address, why) for network in self.networks):
            return why
        # What is carried in an allowed form is an address like any other.
        if why.inner is not None and self._forbidden(why.inner) is not None:
            return why
        return None


def _is_written_so(host: str, address: Address) -> bool:
    try:
        return literal(host) == address
    except ValueError:
        return False


def _opens(allowed: Network, address: Address, why: Forbidden) -> bool:
    """Whether an allowed network allows it. Metadata services hand out credentials: each wants an entry of its own."""
    return address in allowed and (why.what is not _METADATA or allowed.prefixlen == allowed.max_prefixlen)
