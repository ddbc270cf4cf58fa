"""Codecs: how an event becomes text in the log and comes back equal."""

from __future__ import annotations

from eventbus.codecs.json import JsonCodec, encode_value
from eventbus.codecs.refusal import Undefinable, Unresolved
from eventbus.codecs.scope import Scope

__all__ = ["JsonCodec", "Scope", "Undefinable", "Unresolved", "encode_value"]
