import os
from collections.abc import Iterator

import pytest

from tests.support.mesh import SHARED_FOLDER


@pytest.fixture(scope="module", autouse=True)
def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nodes find the environment that another has built, in whichever of the processes that run tests side by side."""
    own = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SHARED_FOLDER, str(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own))
        yield
