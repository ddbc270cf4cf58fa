"""The demo: a shop on the bus, a payment provider outside it, and the story that is told of them.

`--bus eventbus.cli.demo:shop` gives the shop to the commands that need an app's code.
"""

from __future__ import annotations

from eventbus.cli.demo.app import shop
from eventbus.cli.demo.telling import run

__all__ = ["run", "shop"]
