"""A data folder is one node's alone."""

from pathlib import Path

import pytest

from testmesh.errors import SettingsError
from testmesh.node.storage.data_folder import hold


def test_a_second_node_is_kept_out_until_the_first_has_ended(tmp_path: Path) -> None:
    first = hold(tmp_path / "data")
    with pytest.raises(SettingsError, match="in use by another node"):
        hold(tmp_path / "data")
    first.close()
    hold(tmp_path / "data").close()
