"""One PostgreSQL server for the tests of this folder, a fresh database for each test that asks for one."""

import itertools

import pytest
from postgres import serving_postgres

from mbt_assets.instance.postgres import VARIABLE

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres():
    with serving_postgres() as server:
        yield server


@pytest.fixture
def database(postgres, monkeypatch):
    """The URL of a fresh database, and `MBT_POSTGRES` set to it."""
    url = postgres.database(f"mbt{next(_NUMBERS)}")
    monkeypatch.setenv(VARIABLE, url)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def records(request, monkeypatch):
    """Where Dagster keeps its records: each of both places in turn."""
    if request.param == "postgres":
        request.getfixturevalue("database")
    else:
        monkeypatch.delenv(VARIABLE, raising=False)
    return request.param
