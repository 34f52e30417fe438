"""The lake can be written, read and deleted from; DuckDB reads it; Dagster's records are in order."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

import duckdb

from mbt_assets.doctor import Finding
from resources.home import Home
from resources.lake import Lake, LakeError
from resources.lake_in_duckdb import httpfs_is_installed
from resources.object_store import as_os_error, is_remote, is_s3, read, write

PROBE = b"written by mbt doctor\n"


def lake(lake: Lake) -> Finding:
    """Write a file into the lake, read it and delete it; nothing stays."""
    name = f"doctor-{uuid.uuid4().hex}.probe"
    try:
        with _folder(lake):
            path = lake.root / name
            try:
                write(path, PROBE)
                if read(path) != PROBE:
                    return _lake_fault(lake, "it gives back other bytes than were written")
            finally:
                # What the write itself says is told, not that there is nothing to delete.
                with contextlib.suppress(OSError), as_os_error():
                    path.fs.rm_file(path.path)
            with as_os_error():
                stays = path.fs.exists(path.path)
            if stays:
                return _lake_fault(lake, f"{name} cannot be deleted")
    except (OSError, LakeError, ImportError) as error:
        return _lake_fault(lake, " ".join(str(error).split())[:300])
    return Finding("lake", "ok", f"{lake.root}: written, read and deleted")


@contextlib.contextmanager
def _folder(lake: Lake):  # type: ignore[no-untyped-def]
    """The lake's folder is there; those that were made for this go again."""
    if is_remote(lake.root):
        yield
        return
    root = Path(lake.root.path)
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _lake_fault(lake: Lake, what: str) -> Finding:
    advice = "check MBT_LAKE and the rights there"
    if is_s3(lake.root):
        advice = "check MBT_LAKE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the role, AWS_ENDPOINT_URL, "
        advice += "AWS_DEFAULT_REGION"
    return Finding("lake", "fault", f"{lake.root}: {what}", advice)


def duckdb_reads(lake: Lake) -> Finding:
    """By what DuckDB reads the lake."""
    if not is_remote(lake.root):
        return Finding("DuckDB", "ok", f"{duckdb.__version__}, reads the folder itself")
    with contextlib.closing(duckdb.connect()) as connection:
        if is_s3(lake.root) and httpfs_is_installed(connection):
            return Finding("DuckDB", "ok", f"{duckdb.__version__}, reads the store by its extension httpfs")
    advice = "`INSTALL httpfs` in DuckDB once, where its extensions can be downloaded, makes large queries faster"
    return Finding("DuckDB", "ok", f"{duckdb.__version__}, reads the store through fsspec", advice)


def records(home: Home) -> list[Finding]:
    """DAGSTER_HOME, its database, the database's schema, and limits of pools."""
    from mbt_assets.cli.instance import open_instance
    from mbt_assets.instance import InstanceError
    from mbt_assets.instance.settings import NAME

    topic = "Dagster's records"
    if not (home.dagster / NAME).is_file():
        return [Finding(topic, "warning", f"{home.dagster} is not set up", "mbt instance init")]
    try:
        with open_instance(home) as instance:
            return [*_schema(topic, instance), _pools(instance)]
    except InstanceError as error:
        return [Finding(topic, "fault", str(error), "mend what it says; docs/instance.md tells how it is set up")]
    except OSError as error:
        return [Finding(topic, "fault", f"{home.dagster}: {error}", "check the rights and the disk there")]


def _schema(topic: str, instance) -> list[Finding]:  # type: ignore[no-untyped-def]
    from mbt_assets.instance.schema import newer_than_installed, revisions

    found = revisions(instance)
    behind = [revision.part for revision in found if not revision.at_head]
    with instance.event_log_storage.index_connection() as connection:
        kind = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(connection.dialect.name, connection.dialect.name)
    where = f"{kind}, DAGSTER_HOME {instance.root_directory}"
    if newer_than_installed(found):
        return [Finding(topic, "fault", f"{where}: migrated by a newer Dagster", "upgrade this installation")]
    if behind:
        advice = "stop the daemon, back the database up, `mbt instance migrate`"
        return [Finding(topic, "fault", f"{where}: the schema of {', '.join(behind)} is older than Dagster", advice)]
    return [Finding(topic, "ok", f"{where}: schema at head {found[0].head}")]


def _pools(instance) -> Finding:  # type: ignore[no-untyped-def]
    from mbt_assets.instance.pools import pool_limits, pools_of_graph

    limits = pool_limits(instance)
    missing = [name for name in pools_of_graph() if name not in limits]
    shown = ", ".join(f"{name} {limit}" for name, limit in limits.items()) or "none has a limit"
    if missing:
        return Finding("pools", "warning", f"{shown}; no limit for {', '.join(missing)}", "mbt instance init")
    return Finding("pools", "ok", shown)
