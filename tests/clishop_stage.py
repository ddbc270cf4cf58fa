"""A small shop with an app's module of its own, for the commands that need --bus."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

APP = """
from __future__ import annotations

from eventbus import Context, EventBus, Projection, Retry, Table, Transaction, event, handles


@event(name="clishop.OrderPlaced")
class OrderPlaced:
    order_id: str
    total: float


@event(name="clishop.InvoiceSent")
class InvoiceSent:
    order_id: str


def make(path: str) -> EventBus:
    bus = EventBus(path)

    @bus.subscribe("invoices", OrderPlaced, retry=Retry(attempts=1), after=0)
    def invoice(placed: OrderPlaced, ctx: Context) -> None:
        if placed.total < 0:
            raise ValueError(f"no invoice for \\x1b[31m{placed.total}")
        with open("sent.txt", "a") as sent:
            sent.write(placed.order_id + "\\n")
        ctx.publish(InvoiceSent(placed.order_id))

    @bus.project
    class Sales(Projection):
        sales = Table("order_id TEXT PRIMARY KEY, total REAL NOT NULL")

        @handles(OrderPlaced)
        def placed(self, placed: OrderPlaced, tx: Transaction) -> None:
            tx.execute(f"INSERT INTO {self.sales} VALUES (?, ?)", (placed.order_id, placed.total))

    return bus


def shop_bus() -> EventBus:
    return make("shop.db")


def in_memory() -> EventBus:
    return EventBus()


def with_default(path: str = "shop.db") -> EventBus:
    return make(path)


def of_any(*paths: str) -> EventBus:
    return make(*paths or ["shop.db"])


def two(path: str, mode: str) -> EventBus:
    raise AssertionError(path + mode)


def broken() -> EventBus:
    raise RuntimeError("no config")


def leaves() -> EventBus:
    raise SystemExit(7)


class Lazy:
    @property
    def bus(self) -> EventBus:
        raise RuntimeError("not yet")


lazy = Lazy()


NUMBER = 7
"""
BUS = "clishop:shop_bus"


@contextmanager
def shop_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The app's module, in the folder where the person stands."""
    (folder / "clishop.py").write_text(APP)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("clishop")
    sys.modules.pop("clishop", None)


def publish(app: Any, *totals: float, first: int = 0) -> None:
    """One order for each total, on its own stream."""
    bus = app.shop_bus()
    for index, total in enumerate(totals, first):
        bus.publish(app.OrderPlaced(f"o-{index}", total), stream=f"order-{index}")
    bus.close()
