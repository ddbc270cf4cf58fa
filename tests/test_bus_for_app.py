"""`EventBus.for_app`: the log of an app, by the app's name alone."""

from pathlib import Path

import pytest
from bus_stage import Placed

from eventbus import EventBus, EventDefinitionError


def test_for_app_puts_the_log_in_the_apps_own_folder(tmp_path, monkeypatch):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    bus = EventBus.for_app("shop", delivery="manual")
    assert Path(bus.path).name == "events.db"
    assert "shop" in Path(bus.path).parts
    assert list(tmp_path.iterdir()) == []
    assert bus.log.get(bus.publish(Placed()).id).source == "shop"
    assert Path(bus.path).is_file()
    bus.close()


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "", "/etc", "a/b", "a\\b", "a\0b", None, 7])
def test_for_app_refuses_what_is_no_name_of_a_folder(name):
    with pytest.raises(EventDefinitionError, match="The name of an app is the name of a folder"):
        EventBus.for_app(name)
    if name is not None:
        with pytest.raises(EventDefinitionError, match="The author of an app is the name of a folder"):
            EventBus.for_app("shop", name)
