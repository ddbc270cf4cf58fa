"""What an examination says: findings, each with what to do, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

Severity: TypeAlias = Literal["note", "look", "damaged"]
"""Good to know; a person should look at it; events or what is known of them are lost or in danger."""

Verdict: TypeAlias = Literal["healthy", "look at this", "damaged"]

_VERDICTS: dict[Severity, Verdict] = {"note": "healthy", "look": "look at this", "damaged": "damaged"}
_WORST: tuple[Severity, ...] = ("damaged", "look", "note")


@attrs.frozen
class Finding:
    """One thing that was found: `what` it is and what to do (`advice`), as sentences.

    `code` stays the same from release to release; `facts` are the numbers and names behind the sentence, as JSON.
    """

    code: str
    severity: Severity
    what: str
    advice: str = ""
    facts: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen
class Examination:
    """All that was found about a log: `facts` about it, and `findings`, the worst first."""

    path: str
    facts: Mapping[str, Any]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """As bad as the worst finding."""
        return _VERDICTS[self.findings[0].severity] if self.findings else "healthy"

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 look at this, 2 damaged."""
        return ("healthy", "look at this", "damaged").index(self.verdict)


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """The worst first; those of one kind as they were found."""
    return tuple(sorted(findings, key=lambda finding: _WORST.index(finding.severity)))


def sized(count: int, word: str) -> str:
    """1, "event" -> "1 event"; 2 -> "2 events"."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def some(names: list[str], most: int = 5) -> str:
    """The first few of many, and how many more there are."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
