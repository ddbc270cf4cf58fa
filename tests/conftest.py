"""What all tests share: nothing of the person who runs them is read or written, and no test is judged by its speed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import settings

settings.register_profile("eventbus", deadline=None)
settings.load_profile("eventbus")


@pytest.fixture(autouse=True, scope="session")
def _a_home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> object:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("EVENTBUS_LOG", raising=False)
        for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
            patch.setenv(name, str(home))
        yield


@pytest.fixture(autouse=True)
def _no_bus_is_left_open() -> Iterator[None]:
    """CPython 3.13 warns of each connection that nobody has closed, in whichever test it is collected."""
    from eventbus.bus.attaching import _known

    before = weakref.WeakSet(_known)
    yield
    for attachment in [each for each in _known if each not in before]:
        if not attachment.closed:
            with suppress(Exception):  # what a handler of that test has raised is its own affair
                attachment.close(0)
