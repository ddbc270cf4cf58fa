"""The JSON codec: compiled per class, refusing what would not come back equal."""

from __future__ import annotations

from eventbus.codecs.json.codec import JsonCodec, encode_value

__all__ = ["JsonCodec", "encode_value"]
