"""Every way in which names and addresses go wrong, at once, one webhook each in one daemon, beside one that is well.

The daemon asks the system's resolver, and that a name server of the test; all are in a network of their own. So what
stands for a public address is one, by the rules that always hold (``network.allow`` is empty); and what is forbidden is
really loopback, private and a metadata service: it listens, and nobody may come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from cdc_hooks.demo.postgres import PostgresServer
from tests.acceptance.faults import Patient, harmless, hospital, stays_silent
from tests.acceptance.harness import Daemon, Site, eventually, leading, webhook
from tests.acceptance.internet import (
    PUBLIC_6,
    SILENCE,
    NameServer,
    Rcode,
    Said,
    command,
    forbidden_ground,
    name_server,
    own_network,
    public,
)
from tests.acceptance.posting import black_hole
from tests.acceptance.ward import (
    OPTIONS,
    Expected,
    Look,
    check_bounds,
    rows_at,
    until_all_is_well,
    until_as_expected,
    write_beside,
)

LOOPBACK, PRIVATE, METADATA = "127.0.0.1", "10.0.0.5", "169.254.169.254"
HERE = "(the receiver's own address)"
NO_WAY = "2606:2800:21f:dead::1"  # this machine has no route to it
HASTY = {**OPTIONS, "timeout": {"connect": "500ms", "total": "10s"}}
LONG = {**OPTIONS, "timeout": {"connect": "5s", "total": "10s"}}


def host_of(name: str) -> str:
    return f"{name}.partner.example"


@dataclass(frozen=True)
class Row:
    """``answers``: of the name server. ``said``, ``outcome``, ``state``: as in ``Expected``; {host} is the name."""

    answers: Said
    said: str | None
    outcome: str = "connect"
    state: str = "open"
    options: dict = field(default_factory=lambda: OPTIONS)

    def expected(self, name: str) -> Expected:
        if self.said is None:
            return Expected(None)
        return Expected(self.said.format(host=host_of(name)), self.outcome, self.state)


def refused(answers: list[str], found: str) -> Row:
    advice = "nothing was sent; if that is where it should go, allow it in network.allow"
    return Row(answers, f"refused: {{host}} resolves to {found}; {advice}", "forbidden", "retrying")


_LOOPBACK = "127.0.0.1, which is loopback (127.0.0.0/8)"
_PRIVATE = "10.0.0.5, which is private (10.0.0.0/8)"
_NO_ANSWER = "{host} cannot be resolved: the name servers do not answer, or only with an error"

TABLE = {
    "no-such-name": Row(Rcode.NXDOMAIN, "{host} cannot be resolved: there is no such name"),
    "no-address": Row([], "{host} cannot be resolved: the name has no address"),
    "servfail": Row(Rcode.SERVFAIL, _NO_ANSWER),
    "refuses": Row(Rcode.REFUSED, _NO_ANSWER),
    "silent": Row(SILENCE, _NO_ANSWER, options=LONG),
    "loopback": refused([LOOPBACK], _LOOPBACK),
    "loopback-6": refused(["::1"], "::1, which is loopback (::1/128)"),
    "private": refused([PRIVATE], _PRIVATE),
    "metadata": refused([METADATA], "169.254.169.254, which is a metadata service (169.254.169.254/32)"),
    "embedded": refused(
        ["64:ff9b::a00:5"],
        "64:ff9b::a00:5, which is an IPv6 form of an IPv4 address (64:ff9b::/96, 10.0.0.5)",
    ),
    "mixed": refused([HERE, PRIVATE], _PRIVATE),
    "mixed-the-other-way": refused([PRIVATE, HERE], _PRIVATE),
    "mixed-families": refused(["::1", HERE], "::1, which is loopback (::1/128)"),
    "black-hole": Row([PUBLIC_6], "no connection within 1 s", "timeout"),
    "black-hole-and-well": Row([PUBLIC_6, HERE], None),
    "no-way-and-well": Row([NO_WAY, HERE], None),
    # Well at first: see the test.
    "rebinds": refused([HERE], _LOOPBACK),
    "kept": refused([HERE], _LOOPBACK),
}
OTHERS = {"well": OPTIONS, "turns": OPTIONS, "hasty": HASTY}
SURE = ("black-hole-and-well", "no-way-and-well", "rebinds", "kept")


class Named(Patient):
    """At a public address of its own, which its name leads to when it is healed."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(harmless(stays_silent))
        self.port = 80
        self.name = name
        self.host = public(number)
        self.healed = True  # from the beginning: what comes although it must not is seen

    @property
    def url(self) -> str:
        return f"http://{host_of(self.name)}/hook"

    def where(self, answers: Said) -> Said:
        return [self.host if one == HERE else one for one in answers] if isinstance(answers, list) else answers


class Closing(Named):
    """Each request is on a connection of its own."""

    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@pytest.fixture
def shop(database: str, server: PostgresServer, tmp_path: Path) -> Iterator[Site]:
    with own_network():
        site = Site(make_conninfo(database, host=str(server.base)), tmp_path, command=command(tmp_path / "etc"))
        site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        yield site


@contextmanager
def partners() -> Iterator[tuple[dict[str, Named], NameServer]]:
    """All of the table, and the others, of which one is well."""
    with ExitStack() as stack:
        names = stack.enter_context(name_server())
        admitted = {
            name: (Closing if name in {"rebinds", "turns"} else Named)(number, name)
            for number, name in enumerate([*TABLE, *OTHERS], 10)
        }
        for name, row in TABLE.items():
            names.names[host_of(name)] = admitted[name].where(row.answers)
        names.names[host_of("hasty")] = SILENCE
        names.names[host_of("well")] = [admitted["well"].host]
        names.by_turns[host_of("turns")] = [[admitted["turns"].host], [LOOPBACK]]
        stack.enter_context(black_hole(PUBLIC_6, 80))
        stack.enter_context(forbidden_ground(LOOPBACK, "::1", PRIVATE, METADATA))
        patients, _ = stack.enter_context(hospital(admitted))
        yield patients, names


def test_every_fault_of_names_is_called_by_its_name_and_all_arrives_when_it_is_healed(shop: Site) -> None:
    with partners() as (patients, names):
        webhooks = {
            name: webhook(patient.url, ["public.orders"], **(TABLE[name].options if name in TABLE else OTHERS[name]))
            for name, patient in patients.items()
        }
        webhooks["kept"]["concurrency"] = 1
        shop.configure(webhooks, network={"allow_http": True})
        shop.apply()
        check_says_so(shop)
        with leading(shop) as daemon:
            arrived = arriving(patients["well"])
            write_beside(shop, arrived, range(1, 31))
            rebind(shop, daemon, patients, names)
            expected = {name: row.expected(name) for name, row in TABLE.items()}
            until_as_expected(shop, daemon, expected)
            # Who does not wait for the resolver to give up may yet be there when it does.
            late = f"{host_of('hasty')} was not resolved within 0.5 s"
            assert {late} <= Look(shop, daemon).logged("hasty") <= {late, _NO_ANSWER.format(host=host_of("hasty"))}
            check_bounds(daemon, patients)
            assert {name for name, patient in patients.items() if patient.bodies} == {*SURE, "well", "turns"}
            ((longest_s,),) = shop.execute(
                "SELECT max(l.duration_s) FROM cdc_hooks.delivery_log l JOIN cdc_hooks.webhook w ON w.id = l.webhook_id"
                " WHERE w.name = 'black-hole-and-well'"
            )
            assert longest_s >= 0.2  # the hole was tried, for a step

            for name, patient in patients.items():
                names.names[host_of(name)] = [patient.host]
            names.by_turns.clear()
            write_beside(shop, arrived, range(61, 91))
            until_all_is_well(shop, daemon, patients)
            assert not daemon.events("dead_letter")
            daemon.terminate()
            assert daemon.wait() == 0


def arriving(well: Patient) -> Callable[[int], object]:
    return lambda number: eventually(lambda: number in rows_at(well), what=f"row {number}")


def check_says_so(shop: Site) -> None:
    """Before anything runs, by the same resolver."""
    checked = shop.run("check")
    assert checked.returncode == 1
    for said in (
        f"{host_of('no-such-name')} cannot be resolved now: there is no such name",
        f"requests will be refused: {host_of('mixed')} resolves to {_PRIVATE}",
    ):
        assert said in checked.stdout, checked.stdout


def rebind(shop: Site, daemon: Daemon, patients: dict[str, Named], names: NameServer) -> None:
    """Two names lead to loopback from now on. Who comes anew is refused; a connection that is kept is not looked at.

    A third has been doing so in turns all the time: what is looked at is what is connected to.
    """
    for name in ("rebinds", "kept"):
        eventually(lambda name=name: len(rows_at(patients[name])) == 30, what=f"all at {name}")
    for name in ("rebinds", "kept"):
        names.names[host_of(name)] = [LOOPBACK]
    write_beside(shop, arriving(patients["well"]), range(31, 61))
    assert len(rows_at(patients["rebinds"])) == 30
    eventually(lambda: len(rows_at(patients["kept"])) == 60, what="all at the kept connection")
    assert patients["kept"].connections == 1
    assert not daemon.events("attempt_failed", webhook="kept")
    said = refused([], _LOOPBACK).expected("turns").said
    eventually(lambda: rows_at(patients["turns"]) == set(range(1, 61)), what="all at the name that turns")
    assert {line["error"] for line in daemon.events("attempt_failed", webhook="turns")} == {said}
    # A connection is kept for some seconds. The next one is refused.
    eventually(lambda: patients["kept"].open == 0, what="the end of the kept connection")
    shop.execute("INSERT INTO orders VALUES (0)")
