"""One engine per file and process: storage, writer, pump and what is declared, shared by every bus on it."""

from __future__ import annotations

from eventbus.engine.engine import Delivery, Engine, Settings, run_all

__all__ = ["Delivery", "Engine", "Settings", "run_all"]
