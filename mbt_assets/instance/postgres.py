"""Dagster's records in PostgreSQL: the database that `MBT_POSTGRES` names, looked at before Dagster is.

Dagster tries a connection six times and then ends in a long trace; one look beforehand says plainly what is wrong.
"""

from __future__ import annotations

import importlib.util
import os

from sqlalchemy import Connection, create_engine, exc, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from mbt_assets.instance import InstanceError

VARIABLE = "MBT_POSTGRES"
CONNECT_TIMEOUT_S = 10
STUDY_KEY = "mbt/study"
"""Key of Dagster's own table of cursors that says which study a database is of."""


def postgres_url() -> URL | None:
    """The address of the database; None where no variable names one, which means SQLite.

    Raises:
        InstanceError: it is no such address, or the package for it is missing.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    try:
        url = make_url(given)
    except (exc.ArgumentError, ValueError):
        # The text is not shown: it may hold a password.
        raise InstanceError(
            f"{VARIABLE} is no database address: use postgresql://user:password@host:5432/name"
        ) from None
    if url.get_backend_name() != "postgresql":
        raise InstanceError(f"{VARIABLE} names a {url.get_backend_name()} database: only postgresql:// will do")
    if importlib.util.find_spec("dagster_postgres") is None:
        raise InstanceError(f"{VARIABLE} is set and dagster-postgres is not installed: pip install -e .[postgres]")
    return url


def shown(url: URL) -> str:
    """The address without its password, which may stand among the options too."""
    hidden = {name: "hidden" for name in url.query if "password" in name}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def reach(url: URL, study: str) -> None:
    """Connect once, and see that the database holds the records of this study or of none.

    Args:
        url: of the database.
        study: the study's name. Two studies in one database would show each other's partitions as their own.

    Raises:
        InstanceError: it cannot be reached, does not let this user in, or belongs to another study.
    """
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}, isolation_level="AUTOCOMMIT"
    )
    try:
        with engine.connect() as connection:
            owner = _owner(connection, study)
    except exc.SQLAlchemyError as error:
        raise InstanceError(_cannot_connect(url, error)) from None
    if owner != study:
        raise InstanceError(
            f"{shown(url)} holds the records of study {owner}, and this is study {study}: give each study a database "
            f"of its own (createdb, then {VARIABLE})"
        )


def _owner(connection: Connection, study: str) -> str:
    """The study that the database is of; this one from now on where it is of none."""
    # Dagster makes its tables when it first opens the database; until then there is nothing to mix up.
    if not inspect(connection).has_table("kvs"):
        return study
    claim = "INSERT INTO kvs (key, value) VALUES (:key, :study) ON CONFLICT DO NOTHING"
    connection.execute(text(claim), {"key": STUDY_KEY, "study": study})
    found = connection.execute(text("SELECT value FROM kvs WHERE key = :key"), {"key": STUDY_KEY})
    return str(found.scalar_one())


def _cannot_connect(url: URL, error: exc.SQLAlchemyError) -> str:
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    if url.password:
        reason = reason.replace(str(url.password), "***")
    advice = f"check that it runs, and the user, password and name in {VARIABLE}"
    return f"cannot connect to {shown(url)}: {reason}: {advice}"
