"""The explorer over a lake in an object store: the same pages, and no more that SQL can read."""

from concurrent.futures import ThreadPoolExecutor

import fsspec
import httpx2
import pytest
from explored_rows import BASE


@pytest.fixture
def stored_home(study_home, tmp_path, monkeypatch):
    """The study with its lake in a store, which is in this process's memory."""
    from explored import Explored

    store, local = fsspec.filesystem("memory"), study_home.platform.home.folder / "lake"
    for file in local.rglob("*.parquet"):
        store.pipe(f"/lakes/{study_home.study.name}/{file.relative_to(local)}", file.read_bytes())
    store.pipe("/beside.txt", b"of somebody else")
    monkeypatch.setenv("MBT_LAKE", "memory://lakes")
    home = Explored(tmp_path / "home")
    home.warehouse()
    yield home
    store.rm("/lakes", recursive=True)
    store.rm("/beside.txt")


def test_pages_show_a_lake_in_a_store_and_sql_reads_nothing_beside_it(stored_home):
    from explored import served

    root = stored_home.lake.root
    with served(stored_home.platform) as address, httpx2.Client(base_url=address, timeout=60) as web:
        # At the same time, as a browser with several windows asks.
        paths = ["/", f"/cell/trails/{BASE}", f"/trace/trails/{BASE}/q01/1", "/query?sql=SELECT+count(*)+FROM+lineage"]
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(web.get, paths))
        assert [reply.status_code for reply in replies] == [200] * 4
        assert web.get("/query", params={"sql": f"FROM read_parquet('{root}/aes/*.parquet')"}).status_code == 200
        for beside in ("/etc/passwd", "memory://beside.txt", "https://example.com/x.txt"):
            reply = web.get("/query", params={"sql": f"FROM read_text('{beside}')"})
            assert reply.status_code == 400
            assert "disabled by configuration" in reply.text
