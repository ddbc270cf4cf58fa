"""The codec of one class: a JSON text of its instances, and back."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from eventbus.codecs.json.annotations import AnnotationReader
from eventbus.codecs.json.leaves import CAREFUL, QUICK
from eventbus.codecs.json.loads import LoadCompiler, place_of
from eventbus.codecs.json.native import Read, native_reader
from eventbus.codecs.json.plain import PlainWriter
from eventbus.codecs.json.shapes import everywhere
from eventbus.codecs.json.unions import tell_unions_apart
from eventbus.codecs.json.unrolled import unrolled_record
from eventbus.codecs.json.writers import WriterCompiler, patient_record
from eventbus.codecs.refusal import MAX_DEPTH, Refused, Undefinable, Unusual, class_name, shown
from eventbus.codecs.scope import Scope
from eventbus.errors import InvalidEvent

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_write_plain = PlainWriter(CAREFUL)
_TROUBLE = (Refused, Unusual, AttributeError, ValueError, TypeError, OverflowError, RecursionError)


class JsonCodec:
    """Writes and reads the instances of one attrs class, or of any annotation; compiled once, called for every event.

    `name` is what errors call it. Raises Undefinable if an instance would not come back equal,
    Unresolved if an annotation names something that is not there yet.
    """

    def __init__(self, cls: Any, name: str, scope: Scope) -> None:
        self.name = name
        try:
            self._shape = AnnotationReader(scope).shape(cls, {})
            tell_unions_apart(self._shape)
            self._write = WriterCompiler(QUICK, unrolled_record).writer(self._shape)
            self._write_patiently = WriterCompiler(CAREFUL, patient_record).writer(self._shape)
            self._load = LoadCompiler().load(self._shape)  # now, so that what cannot be read is never written
        except RecursionError as error:
            raise Undefinable("its annotations are nested too deep") from error
        self._read: Read | None = None
        self._runs_code = not everywhere(self._shape, lambda part: not part.custom)

    def encode(self, value: Any, max_payload: int) -> str:
        """The JSON text of `value`; InvalidEvent, with the path, for what would not come back equal."""
        return self.encode_bytes(value, max_payload).decode()

    def encode_bytes(self, value: Any, max_payload: int) -> bytes:
        """The same in UTF-8."""
        try:
            payload = _encode(self._write(value, MAX_DEPTH))
        except _TROUBLE as trouble:
            payload = self._encode_patiently(value, trouble)
        if len(payload) > max_payload:
            raise self._too_long(value, len(payload), max_payload)
        if self._runs_code:
            self._prove(payload)
        return payload

    def decode(self, payload: str | bytes) -> Any:
        """The value of a stored payload; InvalidEvent if it does not fit the class."""
        read = self._read or self.reader()
        try:
            return read(payload)
        except Refused as refusal:
            raise self._unreadable(refusal.path, refusal.reason) from refusal.__cause__
        except msgspec.ValidationError as error:
            path, reason = place_of(error)
            raise self._unreadable(path, reason) from error
        except (ValueError, RecursionError) as error:
            raise self._unreadable("", f"the payload is not JSON: {error}") from error
        except Exception as error:  # hooks, hashes and _missing_ are the user's and may raise anything
            raise self._unreadable("", f"cannot be read: {class_name(error)}: {error}") from error

    def reader(self) -> Read:
        """What `decode` reads with; it raises whatever it meets, and `decode` says what that means."""
        if self._read is None:
            self._read = native_reader(self._shape) or self._load_text
        return self._read

    def _load_text(self, payload: str | bytes) -> Any:
        return self._load(_decode(payload))

    def _encode_patiently(self, value: Any, trouble: Exception) -> bytes:
        """Look again at what was refused, or written wrongly, and find the place."""
        try:
            return _encode(self._write_patiently(value, MAX_DEPTH))
        except Refused as refusal:
            raise InvalidEvent(self.name, refusal.path, refusal.reason) from None
        except _TROUBLE as error:
            raise InvalidEvent(self.name, "", f"cannot be written: {error or trouble}") from error

    def _prove(self, payload: bytes) -> None:
        """The user's code runs on the way back: only trying it shows whether the event comes back equal."""
        try:
            again = self.decode(payload)
        except InvalidEvent as error:
            reason = f"would not come back from the log: {error.reason}"
            raise InvalidEvent(self.name, error.path, reason) from error.__cause__
        before, after = _decode(payload), _decode(_encode(self._write_patiently(again, MAX_DEPTH)))
        changed = _parts(after)
        for name, value in _parts(before).items():
            if _encode(value) != _encode(changed[name]):
                reason = (
                    f"would come back as {shown(changed[name])}, not {shown(value)}: its class changes it once more"
                )
                raise InvalidEvent(self.name, name, reason)

    def _too_long(self, value: Any, length: int, max_payload: int) -> InvalidEvent:
        sizes = {name: len(_encode(item)) for name, item in _parts(self._write_patiently(value, MAX_DEPTH)).items()}
        largest = max(sizes, key=sizes.__getitem__, default="")
        reason = f"the payload has {length} bytes, more than max_payload={max_payload}"
        return InvalidEvent(self.name, largest, f"{reason}; most are in this field")

    def _unreadable(self, path: str, reason: str) -> InvalidEvent:
        error = InvalidEvent(self.name, path, reason)
        error.stored = ""  # type: ignore[assignment] # it was read, not published
        return error


def _parts(written: Any) -> dict[str, Any]:
    """The fields of what was written; a value that is no record has one, without a name."""
    return cast("dict[str, Any]", written) if type(written) is dict else {"": written}


def encode_value(value: Any, name: str, path: str) -> str:
    """The JSON text of a plain JSON value such as metadata; InvalidEvent(name, path, ...) for anything else."""
    try:
        return _encode(_write_plain(value, MAX_DEPTH)).decode()
    except Refused as refusal:
        raise InvalidEvent(name, refusal.under(path).path, refusal.reason) from None
