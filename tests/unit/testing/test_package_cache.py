from pathlib import Path

import pytest

from testmesh.clock import FakeClock
from testmesh.testing.package_cache import PackageCache

LIMIT = 100_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def packages(tmp_path: Path, clock: FakeClock) -> PackageCache:
    return PackageCache(tmp_path / "packages", LIMIT, clock)


def grow(packages: PackageCache, size: int) -> Path:
    file = packages.folder / "deep" / f"{size}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    return file


def test_within_its_limit_it_stays(packages: PackageCache) -> None:
    with packages.in_use():
        file = grow(packages, LIMIT // 2)
    assert file.exists()


def test_over_its_limit_it_is_emptied_when_the_last_user_is_done(packages: PackageCache, tmp_path: Path) -> None:
    with packages.in_use():
        with packages.in_use():
            file = grow(packages, 2 * LIMIT)
        assert file.exists()
    assert list((tmp_path / "packages").iterdir()) == []


def test_it_is_looked_at_once_a_minute(packages: PackageCache, clock: FakeClock) -> None:
    with packages.in_use():
        pass
    with packages.in_use():
        file = grow(packages, 2 * LIMIT)
    assert file.exists()
    clock.advance(61)
    with packages.in_use():
        pass
    assert not file.exists()


def test_it_is_not_emptied_while_in_use(packages: PackageCache) -> None:
    file = grow(packages, 10)
    with packages.in_use():
        packages.empty()
        assert file.exists()
    packages.empty()
    assert not file.exists()


def test_what_a_killed_node_did_not_remove_goes_at_the_start(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / ".gone-1" / "deep").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    PackageCache(tmp_path, LIMIT, clock)
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]
