"""Who acts: what a person does is recorded with a name."""

from __future__ import annotations

import getpass


def user() -> str:
    """Who does it, unless told: the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # nobody with that number, as in a container
        return "unknown"
