"""The disk that the ledger lies on is really full: a small file system of its own, as a tablespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.harness import Site, eventually, leading
from tests.acceptance.inbox import first_then, receiving
from tests.acceptance.orders import insert, prepare
from tests.conftest import need
from tests.receivers import answer


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


@pytest.fixture
def disk(place: Path) -> Iterator[Path]:
    """An empty file system of 4 MiB that the database server may write to."""
    need("the right to mount", os.geteuid() == 0)
    mounted = place / "disk"
    mounted.mkdir()
    options = "size=4m,mode=0755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mounted)], check=True, capture_output=True)
    space = mounted / "space"
    space.mkdir(mode=0o700)
    shutil.chown(space, "nobody")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True, capture_output=True)


@contextmanager
def ledger_on(disk: Path, site: Site) -> Iterator[None]:
    """All tables of the ledger, with their indexes, lie there; before the file system goes they are moved back."""
    site.execute("SELECT cdc_hooks.tidy_ledger(generation, '1 day', NULL) FROM cdc_hooks.leader")  # makes partitions
    tables = ["delivery", *(name for (name,) in site.execute("SELECT name FROM cdc_hooks.ledger_partitions()"))]
    of_tables = "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = ANY (%s::regclass[])"
    indexes = site.execute(of_tables, [f"cdc_hooks.{name}" for name in tables])
    site.execute(f"CREATE TABLESPACE small LOCATION '{disk / 'space'}'")
    try:
        site.execute("".join(f"ALTER TABLE cdc_hooks.{name} SET TABLESPACE small;" for name in tables))
        site.execute("".join(f"ALTER INDEX {name} SET TABLESPACE small;" for (name,) in indexes))
        yield
    finally:
        site.execute("ALTER TABLE ALL IN TABLESPACE small SET TABLESPACE pg_default")
        site.execute("ALTER INDEX ALL IN TABLESPACE small SET TABLESPACE pg_default")
        site.execute("DROP TABLESPACE small")


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_of_the_ledger_stops_nothing(shop: Site, disk: Path) -> None:
    """The schedule goes on in memory, and what gets through is not sent again."""
    with receiving(first_then(3, answer(503), answer())) as inbox:
        prepare(shop, inbox.url)
        with ledger_on(disk, shop):
            with leading(shop) as daemon:
                filler = fill(disk)
                insert(shop, 1, 1)
                inbox.wait(lambda: len(inbox.arrivals) == 4)
                insert(shop, 2, 2)
                inbox.until(2)
                for what in ("open deliveries", "finished deliveries"):
                    assert "No space left on device" in daemon.until("ledger_not_written", what=what)["error"]
                # Three failures and two successes; what is not lost yet would be written when there is room.
                eventually(lambda: daemon.metric("cdc_hooks_ledger_lost_total") == 5, what="the loss of all records")
                assert shop.value("SELECT count(*) FROM cdc_hooks.every_delivery") == 0
                assert daemon.metric("cdc_hooks_webhook_state", webhook="w", state="active") == 1
                filler.unlink()
                insert(shop, 3, 3)
                daemon.until("ledger_written_again", what="finished deliveries")
                daemon.terminate()
                assert daemon.wait() == 0
            with leading(shop):
                insert(shop, 4, 4)
                inbox.until(4)
                logged = "SELECT row_ids FROM cdc_hooks.delivery_log ORDER BY number"
                eventually(lambda: shop.execute(logged) == [("[3]",), ("[4]",)], what="the records since there is room")
    assert Counter(inbox.values("id")) == {1: 4, 2: 1, 3: 1, 4: 1}
