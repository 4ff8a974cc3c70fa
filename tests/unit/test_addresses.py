"""Which addresses are forbidden and why, what allows them, and which hosts are no proper address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from cdc_hooks import addresses
from cdc_hooks.addresses import Listener, Rules, forbidden, literal

FORBIDDEN = {
    # IPv4
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "shared address space",
    "100.100.100.200": "a metadata service",
    "100.127.255.255": "shared address space",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "a metadata service",
    "169.254.0.1": "link-local",
    "169.254.169.254": "a metadata service",
    "169.254.170.2": "a metadata service",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "reserved for protocols",
    "192.0.0.192": "a metadata service",
    "192.0.2.1": "for documentation",
    "192.31.196.1": "reserved for AS112",
    "192.52.193.1": "reserved for multicast relays",
    "192.88.99.1": "reserved for 6to4 relays",
    "192.168.255.255": "private",
    "192.175.48.1": "reserved for AS112",
    "198.18.0.1": "for benchmarking",
    "198.19.255.255": "for benchmarking",
    "198.51.100.1": "for documentation",
    "203.0.113.1": "for documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    # IPv6
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "an IPv6 form of an IPv4 address",
    "::8.8.8.8": "an IPv6 form of an IPv4 address",
    "::ffff:127.0.0.1": "an IPv6 form of an IPv4 address",
    "::ffff:8.8.8.8": "an IPv6 form of an IPv4 address",
    "::ffff:0:127.0.0.1": "an IPv6 form of an IPv4 address",
    "64:ff9b::7f00:1": "an IPv6 form of an IPv4 address",
    "64:ff9b::8.8.8.8": "an IPv6 form of an IPv4 address",
    "64:ff9b:1::1": "for translation to IPv4",
    "64:ff9b:2::1": "reserved",
    "100::1": "for discarding",
    "100:0:0:1::1": "a dummy prefix",
    "2001::1": "an IPv6 form of an IPv4 address",
    "2001:1::1": "reserved for protocols",
    "2001:2::1": "for benchmarking",
    "2001:10::1": "reserved for protocols",
    "2001:20::1": "reserved for protocols",
    "2001:1ff:ffff::1": "reserved for protocols",
    "2001:db8::1": "for documentation",
    "2002:7f00:1::": "an IPv6 form of an IPv4 address",
    "2002:808:808::1": "an IPv6 form of an IPv4 address",
    "2620:4f:8000::1": "reserved for AS112",
    "2a00:1450::5efe:7f00:1": "an IPv6 form of an IPv4 address",
    "2a00:1450::200:5efe:808:808": "an IPv6 form of an IPv4 address",
    "3fff::1": "for documentation",
    "3fff:fff::1": "for documentation",
    "4000::1": "reserved",
    "5f00::1": "for segment routing",
    "9000::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "a metadata service",
    "fd20:ce::254": "a metadata service",
    "fd12:3456::1": "private",
    "fe00::1": "reserved",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "febf::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
}
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.0.3.0", "192.88.98.255", "192.167.255.255", "192.169.0.0"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2001:200::1", "2001:4860:4860::8888", "2003::1", "2400::1", "2600:1f18::1", "2606:4700::1111", "2a00:1450::1"),
    *("3ffe:ffff::1", "3fff:1000::1"),
]
# Where IANA's special-purpose registries say "globally reachable" no, or it depends. (Those of version 4, then 6.)
IANA = [
    *("0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *(
        "192.0.0.0/24",
        "192.0.0.0/29",
        "192.0.0.8/32",
        "192.0.0.9/32",
        "192.0.0.10/32",
        "192.0.0.170/31",
        "192.0.2.0/24",
    ),
    *("192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
    *("198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32", "224.0.0.0/4"),
    *("::1/128", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64"),
    *("2001::/23", "2001::/32", "2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32"),
    *("2001:4:112::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32", "2002::/16"),
    *("2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
]


def nobodys(_address):
    return False


def everybodys(_address):
    return True


def refusal(address, allow=(), *, host="receiver.example", listen=None, port=443, is_ours=nobodys):
    return Rules.of(tuple(allow), listen).refusal(host, ip_address(address), port, is_ours)


@pytest.mark.parametrize(("address", "what"), FORBIDDEN.items())
def test_what_is_forbidden(address, what):
    found = forbidden(ip_address(address))
    assert found is not None
    assert found.what == what


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address):
    assert forbidden(ip_address(address)) is None
    assert refusal(address) is None


@pytest.mark.parametrize("network", IANA)
def test_the_special_purpose_registries_are_in_the_table(network):
    for address in (ip_network(network)[0], ip_network(network)[-1]):
        assert forbidden(address) is not None


@pytest.mark.parametrize("written", addresses._TABLE)
def test_a_network_is_forbidden_from_its_first_address_to_its_last(written):
    network = ip_network(written)
    assert forbidden(network[0])
    assert forbidden(network[-1])


@pytest.mark.parametrize(
    ("address", "carried"),
    [
        ("::127.0.0.1", "127.0.0.1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:0:10.1.2.3", "10.1.2.3"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254"),
        ("2002:7f00:1::", "127.0.0.1"),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", "127.0.0.1"),  # Teredo writes it with all bits inverted
        ("2a00:1450::5efe:192.168.0.1", "192.168.0.1"),
    ],
)
def test_the_ipv4_address_in_an_ipv6_one(address, carried):
    found = forbidden(ip_address(address))
    assert found is not None
    assert found.inner == IPv4Address(carried)
    assert carried in (refusal(address) or "")


def test_the_words():
    assert refusal("10.0.0.5") == (
        "receiver.example resolves to 10.0.0.5, which is private (10.0.0.0/8); nothing was sent; "
        "if that is where it should go, allow it in network.allow"
    )
    assert (refusal("127.0.0.1", host="127.0.0.1") or "").startswith("127.0.0.1 is loopback (127.0.0.0/8);")
    assert (refusal("::ffff:127.0.0.1", host="::ffff:7f00:1") or "").startswith(
        "::ffff:7f00:1 is an IPv6 form of an IPv4 address (::ffff:0:0/96, 127.0.0.1);"
    )


@pytest.mark.parametrize(
    ("address", "allow"),
    [
        ("127.0.0.1", ["127.0.0.0/8"]),
        ("10.1.2.3", ["10.1.2.3/32"]),
        ("10.1.2.3", ["192.168.0.0/16", "10.0.0.0/8"]),
        ("::1", ["::1/128"]),
        ("fe80::1%eth0", ["fe80::/10"]),
        ("169.254.169.254", ["169.254.169.254/32"]),
        ("fd00:ec2::254", ["fd00:ec2::254/128"]),
        ("10.1.2.3", ["receiver.example"]),
        ("169.254.169.254", ["receiver.example"]),
        ("::ffff:127.0.0.1", ["receiver.example"]),
        ("64:ff9b::808:808", ["64:ff9b::/96"]),
        ("64:ff9b::a00:1", ["64:ff9b::/96", "10.0.0.0/8"]),
        ("::ffff:127.0.0.1", ["::ffff:0:0/96", "127.0.0.0/8"]),
        ("2002:808:808::1", ["2002::/16"]),
        ("64:ff9b:1::7f00:1", ["64:ff9b:1::/48"]),
    ],
)
def test_what_is_allowed(address, allow):
    assert refusal(address) is not None
    assert refusal(address, allow) is None


@pytest.mark.parametrize(
    ("address", "allow"),
    [
        ("127.0.0.1", ["10.0.0.0/8"]),
        ("127.0.0.1", ["other.example"]),
        ("127.0.0.1", ["example"]),
        ("::1", ["127.0.0.0/8"]),
        # An IPv4 network says nothing of the forms that IPv6 has for it, and the form alone nothing of what it carries.
        ("::ffff:127.0.0.1", ["127.0.0.0/8"]),
        ("64:ff9b::7f00:1", ["127.0.0.0/8"]),
        ("64:ff9b::7f00:1", ["64:ff9b::/96"]),
        ("::ffff:127.0.0.1", ["::ffff:0:0/96"]),
        ("::ffff:127.0.0.1", ["::/0"]),
        ("2002:7f00:1::", ["2002::/16"]),
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", ["2001::/32"]),
        ("64:ff9b::a9fe:a9fe", ["64:ff9b::/96", "169.254.0.0/16"]),
        # A metadata service is not allowed by the way.
        ("169.254.169.254", ["169.254.0.0/16"]),
        ("100.100.100.200", ["100.64.0.0/10"]),
        ("fd00:ec2::254", ["fd00::/8"]),
        ("169.254.42.42", ["169.254.0.0/16"]),
        ("169.254.0.23", ["169.254.0.0/16"]),
        ("fd00:42::42", ["fd00::/8"]),
        ("fd00:a9fe:a9fe::1", ["fd00::/8"]),
        ("fe80::a9fe:a9fe%eth0", ["fe80::/10"]),
        ("168.63.129.16", ["0.0.0.0/0"]),
    ],
)
def test_what_is_not_allowed_by_that(address, allow):
    assert refusal(address, allow) is not None


@pytest.mark.parametrize("host", ["Hooks.Internal.Example", "hooks.internal.example."])
def test_a_name_is_allowed_however_it_is_written(host):
    assert refusal("10.0.0.1", ["hooks.internal.example"], host=host) is None


@pytest.mark.parametrize(
    ("listen", "address", "is_ours", "is_it"),
    [
        ("127.0.0.1:9464", "127.0.0.1", nobodys, True),
        ("127.0.0.1:9464", "::ffff:127.0.0.1", nobodys, True),
        ("127.0.0.1:9464", "0.0.0.0", nobodys, True),
        ("127.0.0.1:9464", "127.0.0.2", everybodys, False),
        ("[::1]:9464", "::1", nobodys, True),
        ("[::1]:9464", "::", nobodys, True),
        ("10.0.0.1:9464", "10.0.0.1", nobodys, True),
        (":9464", "10.0.0.1", everybodys, True),
        (":9464", "10.0.0.1", nobodys, False),
        ("0.0.0.0:9464", "127.0.0.1", everybodys, True),
        ("[::]:9464", "::1", everybodys, True),
        ("localhost:9464", "127.0.0.1", everybodys, True),
        ("[::ffff:127.0.0.1]:9464", "127.0.0.1", nobodys, True),
        ("[::ffff:127.0.0.1]:9464", "::ffff:127.0.0.1", nobodys, True),
        ("[::ffff:0.0.0.0]:9464", "127.0.0.2", everybodys, True),
    ],
)
def test_our_own_listener_is_refused_whatever_is_allowed(listen, address, is_ours, is_it):
    everything = ["0.0.0.0/0", "::/0", "receiver.example"]
    for allow in (everything, []):
        said = refusal(address, allow, listen=listen, port=9464, is_ours=is_ours) or ""
        assert ("cdc-hooks itself listens (metrics.listen)" in said) is is_it
    assert refusal(address, everything, listen=listen, port=9465, is_ours=is_ours) is None


def test_whether_an_address_is_ours_is_asked_of_what_is_reached():
    asked = []
    Listener.of(":9464").is_at(ip_address("::ffff:10.0.0.1"), 9464, lambda address: asked.append(address) or False)
    assert asked == [IPv4Address("10.0.0.1")]


@pytest.mark.parametrize(
    "host",
    [
        *("0x7f.1", "0x7f000001", "2130706433", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.01", "127.0.0.1.", "1"),
        *("127.0.0.0x1", "256.1.1.1", "1.2.3.4.5", "0x", "a.0X1f", "a.1", "1.", "example.0"),
        *("fe80::1%eth0", "fe80::1%25eth0", "127%2e0.0.1", "a%2eexample", ":::1", "1:2", "::ffff:127.0.0.01"),
    ],
)
def test_what_only_looks_like_an_address(host):
    with pytest.raises(ValueError, match=r"write an address as 192\.0\.2\.1 or \[2001:db8::1\]"):
        literal(host)


@pytest.mark.parametrize(
    "host", ["a.example", "a.example.", "1.example", "0x7f.example", "x1", "a.b1", "1password.com", "a.0x1g"]
)
def test_a_name(host):
    assert literal(host) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"])
def test_an_address(host):
    assert literal(host) == ip_address(host)
    assert isinstance(literal(host), IPv4Address | IPv6Address)
