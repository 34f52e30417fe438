import pytest
from publishing_study import build


@pytest.fixture
def platform(tmp_path):
    """A study of one's own, which a test may spoil."""
    return build(tmp_path / "home")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A study that all tests of a file read."""
    return build(tmp_path_factory.mktemp("home"))
