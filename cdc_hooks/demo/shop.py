"""The demo's shop: its tables, and a writer that knows what it committed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection

from cdc_hooks import sql
from cdc_hooks.demo.verdict import KEYS, Row, RowChange, Transaction, exact, key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cdc_hooks.demo.books import Books

CUSTOMERS = 500
PRODUCTS = 3_000
CONNECTIONS = 6
RATE = 200
"""Transactions a second, of all connections together."""

_SQL = sql.queries("shop")
# The statements that write, each with the table and the action that it stands for.
_WRITES = {
    "add_customers": ("customers", "insert"),
    "add_products": ("products", "insert"),
    "place_order": ("orders", "insert"),
    "add_lines": ("order_lines", "insert"),
    "take_from_stock": ("products", "update"),
    "set_status": ("orders", "update"),
    "move_customer": ("customers", "update"),
    "drop_lines": ("order_lines", "delete"),
    "drop_order": ("orders", "delete"),
    "raise_prices": ("products", "update"),
}


class Rollback(Exception):
    """Raised inside a transaction or a savepoint to undo it."""


class Till:
    """One connection of the shop's application. Tells the books what each transaction came to."""

    def __init__(self, connection: AsyncConnection[Any], books: Books) -> None:
        self._connection = connection
        self._books = books
        self._changes: list[RowChange] = []

    async def run(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """One statement of the open transaction; the rows that it wrote."""
        table, action = _WRITES[statement]
        cursor = await self._connection.execute(_SQL[statement], parameters)
        rows = [exact(row[0]) for row in await cursor.fetchall()]
        self._changes += [RowChange(table, action, key_of(table, row), row["version"], row) for row in rows]
        return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Committed at its end, undone by ``Rollback``."""
        self._changes = []
        try:
            async with self._connection.transaction():
                yield
        except Rollback:
            self._books.undo(self._changes)
        else:
            self._books.commit(Transaction(time.perf_counter(), tuple(self._changes)))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undone by ``Rollback``; the transaction goes on."""
        before = len(self._changes)
        try:
            async with self._connection.transaction():
                yield
        except Rollback:
            self._books.undo(self._changes[before:])
            del self._changes[before:]


class Shop:
    """What customers and clerks do, each a transaction. Orders that someone is at work on are nobody else's."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self._open: list[int] = []
        self._paid: list[int] = []

    async def fill(self, till: Till) -> None:
        """The shop opens: two statements of many rows."""
        async with till.transaction():
            await till.run("add_customers", count=CUSTOMERS)
            await till.run("add_products", count=PRODUCTS)

    async def raise_prices(self, till: Till) -> None:
        """One statement that changes every product."""
        async with till.transaction():
            await till.run("raise_prices")

    async def something(self, till: Till) -> None:
        """One transaction of daily business."""
        deeds: Sequence[tuple[int, Callable[[Till], Awaitable[None]]]] = (
            (45, self._order),
            (20, self._pay),
            (10, self._ship),
            (10, self._move),
            (5, self._cancel),
            (5, self._decline),
            (5, self._try_voucher),
        )
        (deed,) = self._luck.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])
        await deed(till)

    async def _order(self, till: Till) -> None:
        async with till.transaction():
            order_id = await self._basket(till)
        self._open.append(order_id)

    async def _pay(self, till: Till) -> None:
        if self._open:
            order_id = self._open.pop(self._luck.randrange(len(self._open)))
            async with till.transaction():
                await till.run("set_status", order_id=order_id, status="paid")
            self._paid.append(order_id)

    async def _ship(self, till: Till) -> None:
        if self._paid:
            order_id = self._paid.pop(0)
            async with till.transaction():
                await till.run("set_status", order_id=order_id, status="shipped")

    async def _move(self, till: Till) -> None:
        async with till.transaction():
            await till.run(
                "move_customer",
                customer_id=self._luck.randint(1, CUSTOMERS),
                street=f"{self._luck.randint(1, 99)} Nørre Allé",
            )

    async def _cancel(self, till: Till) -> None:
        if self._open:
            order_id = self._open.pop()
            async with till.transaction():
                await till.run("drop_lines", order_id=order_id)
                await till.run("drop_order", order_id=order_id)

    async def _decline(self, till: Till) -> None:
        """The card is declined: all of it is rolled back."""
        async with till.transaction():
            await self._basket(till)
            raise Rollback

    async def _try_voucher(self, till: Till) -> None:
        """Half of it is rolled back, to a savepoint."""
        async with till.transaction():
            order_id = await self._basket(till)
            async with till.savepoint():
                await till.run("set_status", order_id=order_id, status="paid")
                raise Rollback
        self._open.append(order_id)

    async def _basket(self, till: Till) -> int:
        products = self._luck.sample(range(1, PRODUCTS + 1), self._luck.randint(1, 3))
        note = self._luck.choice([None, 'leave it at the "back" door', "€ 5 tip\n谢谢"])
        (order,) = await till.run("place_order", customer_id=self._luck.randint(1, CUSTOMERS), note=note)
        await till.run("add_lines", order_id=order["order_id"], product_ids=products)
        await till.run("take_from_stock", product_ids=products)
        return int(order["order_id"])


async def create(dsn: str) -> None:
    """The shop's tables, empty."""
    async with await AsyncConnection.connect(dsn) as connection:
        await connection.execute(sql.text("demo/shop.sql"))


async def contents(dsn: str) -> dict[str, dict[Hashable, Row]]:
    """The rows of all tables as they stand, by key."""
    async with await AsyncConnection.connect(dsn) as connection:
        found: dict[str, dict[Hashable, Row]] = {}
        for table in KEYS:
            rows = [exact(row[0]) for row in await (await connection.execute(_SQL[table])).fetchall()]
            found[table] = {key_of(table, row): row for row in rows}
        return found


async def write(dsn: str, books: Books, seconds: float) -> None:
    """Do business for some seconds over several connections, with new prices in the middle."""
    shop = Shop(random.Random(1))  # noqa: S311 - the same business each time
    async with asyncio.TaskGroup() as group:
        async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
            await shop.fill(Till(connection, books))
        opened_at = time.perf_counter()
        for number in range(CONNECTIONS):
            group.create_task(_serve(dsn, books, shop, opened_at + number / RATE, opened_at + seconds))
        group.create_task(_new_prices(dsn, books, shop, seconds / 2))


async def _serve(dsn: str, books: Books, shop: Shop, begin_at: float, end_at: float) -> None:
    """A connection's share of the rate, evenly spread; what is late is not made up for."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        till, due = Till(connection, books), begin_at
        while (now := time.perf_counter()) < end_at:
            if now < due:
                await asyncio.sleep(due - now)
            due = max(due, now) + CONNECTIONS / RATE
            await shop.something(till)


async def _new_prices(dsn: str, books: Books, shop: Shop, after_s: float) -> None:
    await asyncio.sleep(after_s)
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await shop.raise_prices(Till(connection, books))
