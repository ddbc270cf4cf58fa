"""What all tests share: nothing of the person who runs them is read or written, and no test is judged by its speed."""

from __future__ import annotations

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
