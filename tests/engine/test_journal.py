"""The journal: what is committed stays, whatever happens to the writer, and one row per request comes out."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.engine import FolderBusyError, JournalError, responses
from resources.engine import segments as segments_module
from resources.engine.columns import column
from resources.engine.journal import Journal
from resources.engine.keytable import KeyTable, key_of
from resources.engine.rows import SCHEMA, Reuse, Row


def row(number: int, text: str = "text", digest: str = "d") -> Row:
    return Row(
        request_id=f"r{number}", response=text, reasoning=None, reasoned=False, finish_reason="stop", prompt_tokens=1,
        completion_tokens=2, reasoning_tokens=None, cached_tokens=None, error=None, error_kind=None, transient=False,
        attempts=1, length_retries=0, discarded_tokens=0, queue_ms=0.0, latency_ms=1.0, request_digest=digest,
        max_tokens=None, model="m",
    )  # fmt: skip


def asked(numbers: range, digest: str = "d") -> KeyTable:
    table = KeyTable()
    for number in numbers:
        table.put(key_of(f"r{number}"), key_of(f"r{number}", digest))
    return table


def texts(folder: Path) -> dict[str, str]:
    frame = responses(folder).collect()
    assert frame["request_id"].is_unique().all()
    return dict(zip(frame["request_id"], frame["response"], strict=True))


@given(st.dictionaries(st.integers(1, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), max_size=3000))
def test_the_key_table_is_a_dict(pairs):
    table = KeyTable()
    for key, value in pairs.items():
        table.put(key, 0)
        table.put(key, value)
    assert dict(table.items()) == pairs
    assert len(table) == len(pairs)
    assert all(table.get(key) == value for key, value in pairs.items())
    assert table.get(next(key for key in range(1, 5000) if key not in pairs)) is None


def test_the_schema_and_the_row_name_the_same_columns():
    assert tuple(SCHEMA.names) == Row._fields


@pytest.mark.parametrize(
    ("terms", "covered", "not_covered"),
    [
        (("stop", 100, 40, None, False), [40, 50, 100, 1000, None], [39, 1]),
        (("stop", None, None, None, False), [1, 100, None], []),
        (("length", 100, 100, None, False), [100], [101, 1000, None, 99]),
        (("length", None, 100, None, False), [100, 1000, None], [99]),
        ((None, 100, None, "bad_request", False), [100], [99, 101, None]),
        ((None, None, None, "context_too_long", False), [None], [100]),
        ((None, 100, None, "content_filter", False), [1, 100, None], []),
        ((None, 100, None, "rate_limited", True), [], [1, 100, None]),
    ],
)
def test_a_row_is_reused_under_the_token_limits_that_it_answers(terms, covered, not_covered):
    reuse = Reuse.of(*terms)
    assert Reuse.unpacked(reuse.packed()) == reuse
    assert all(reuse.covers(limit) for limit in covered)
    assert not any(reuse.covers(limit) for limit in not_covered)


values = {
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    pa.int64(): st.integers(-(1 << 63), (1 << 63) - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
}


@pytest.mark.parametrize("kind", values, ids=str)
@given(data=st.data())
def test_values_come_back_out_of_a_column(kind, data):
    given_values = data.draw(st.lists(st.none() | values[kind], max_size=40))
    array = column(given_values, kind)
    array.validate(full=True)
    assert array.to_pylist() == given_values


def test_committed_rows_are_there_for_the_next_run(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(0), row(1)])
        journal.commit([row(2)])
    with Journal(tmp_path) as journal:
        known = journal.reusable()
        assert all(known.get(key_of(f"r{number}", "d")) is not None for number in range(3))
        assert known.get(key_of("r0", "other")) is None


def test_the_end_is_one_row_per_request_asked_and_the_newest(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(number, "old") for number in range(10)])
        journal.commit([row(number, "new") for number in range(5)])
        journal.commit([row(3, "other settings", digest="e")])
        journal.finish(asked(range(8)))
        assert (tmp_path / "complete.json").exists()
    assert texts(tmp_path) == {f"r{number}": "new" if number < 5 else "old" for number in range(8)}


def test_nothing_is_written_when_nothing_changed(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(number) for number in range(10)])
        journal.finish(asked(range(10)))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "responses").iterdir()}
    with Journal(tmp_path) as journal:
        journal.finish(asked(range(10)))
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "responses").iterdir()} == before
        journal.finish(asked(range(9)))
    assert len(texts(tmp_path)) == 9


def test_only_segments_with_rows_to_lose_are_written_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(segments_module, "SMALL_BYTES", 0)
    with Journal(tmp_path) as journal:
        for start in (0, 10, 20):
            journal.commit([row(number) for number in range(start, start + 10)])
        first, _, last = sorted((tmp_path / "responses").iterdir())
        before = first.stat().st_mtime_ns, last.stat().st_mtime_ns
        wanted = KeyTable()
        for number in (*range(10), 15, *range(20, 30)):
            wanted.put(key_of(f"r{number}"), key_of(f"r{number}", "d"))
        journal.finish(wanted)
        assert (first.stat().st_mtime_ns, last.stat().st_mtime_ns) == before
    assert sorted(texts(tmp_path)) == sorted(f"r{number}" for number in (*range(10), 15, *range(20, 30)))


def test_a_folder_whose_rows_are_changing_is_not_read(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(0)])
        journal.finish(asked(range(1)))
        journal.commit([row(0, "new", digest="e")])
    with pytest.raises(JournalError, match="run it"):
        responses(tmp_path)


def test_a_run_without_requests_leaves_an_empty_table(tmp_path):
    with Journal(tmp_path) as journal:
        journal.finish(asked(range(0)))
    assert responses(tmp_path).collect().shape == (0, len(SCHEMA.names) + 1)


def test_a_request_without_a_row_is_no_end(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(0)])
        with pytest.raises(JournalError, match="2 requests have no row"):
            journal.finish(asked(range(3)))
    with pytest.raises(JournalError, match="run it"):
        responses(tmp_path)


def test_many_small_segments_become_few(tmp_path):
    with Journal(tmp_path) as journal:
        for number in range(segments_module.FAN_IN * 3 + 5):
            journal.commit([row(number)])
        assert len(list((tmp_path / "responses").iterdir())) == 3 + 5
        journal.finish(asked(range(segments_module.FAN_IN * 3 + 5)))
    assert len(texts(tmp_path)) == segments_module.FAN_IN * 3 + 5


def test_large_segments_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(segments_module, "MERGE_BYTES", 1000)
    with Journal(tmp_path) as journal:
        for number in range(segments_module.FAN_IN + 1):
            journal.commit([row(number)])
        assert len(journal._segments.segments) == segments_module.FAN_IN + 1


def test_row_groups_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(segments_module, "FAN_IN", 3)
    monkeypatch.setattr(segments_module, "ROW_GROUP_BYTES", 4 << 20)
    letters = random.Random(1)
    with Journal(tmp_path) as journal:
        for start in range(0, 60, 20):
            journal.commit([row(n, letters.randbytes(250_000).hex()) for n in range(start, start + 20)])
        journal.finish(asked(range(60)))
    (merged,) = (tmp_path / "responses").iterdir()
    assert pq.read_metadata(merged).num_row_groups > 2
    assert len(texts(tmp_path)) == 60


def test_unfinished_files_are_ignored_and_removed(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(0)])
    half = tmp_path / "responses" / "part-0-0000000002-0000000002.parquet.tmp"
    half.write_bytes(b"PAR1 and then the power went")
    with Journal(tmp_path) as journal:
        journal.finish(asked(range(1)))
    assert not half.exists()
    assert len(texts(tmp_path)) == 1


def test_a_damaged_segment_is_named(tmp_path):
    with Journal(tmp_path) as journal:
        journal.commit([row(0)])
    (segment,) = (tmp_path / "responses").iterdir()
    segment.write_bytes(b"not Parquet at all")
    with Journal(tmp_path) as journal, pytest.raises(JournalError, match=segment.name):
        journal.reusable()


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path):
    with Journal(tmp_path), pytest.raises(FolderBusyError, match=f"pid {os.getpid()} "), Journal(tmp_path):
        pass
    with Journal(tmp_path):
        pass


def test_the_lock_of_a_killed_writer_is_free(tmp_path):
    script = "import sys; from pathlib import Path; from resources.engine.journal import Journal\n"
    script += "with Journal(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(FolderBusyError, match=f"pid {holder.pid} "), Journal(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with Journal(tmp_path) as journal:
        journal.commit([row(0)])


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match="cannot be written"), Journal(tmp_path / "file"):
        pass


def test_a_full_disk_is_one_clear_error_and_loses_nothing_committed(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal(tmp_path) as journal:
        journal.commit([row(0)])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(JournalError, match="No space left"):
                journal.commit([row(1)])
        assert len(list((tmp_path / "responses").iterdir())) == 1
        journal.commit([row(2)])
    with Journal(tmp_path) as journal:
        known = journal.reusable()
    assert [known.get(key_of(f"r{number}", "d")) is not None for number in range(3)] == [True, False, True]


def test_killed_at_each_step_it_heals(tmp_path):
    """A real SIGKILL before and after each rename, unlink and sync of two whole runs; see the program."""
    program = Path(__file__).with_name("kill_each_step.py")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, timeout=120, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[0]) > 40


texts_of_any_kind = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
commits = st.lists(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("de"), texts_of_any_kind), max_size=6))


@settings(max_examples=60, deadline=None)
@given(runs=st.lists(st.tuples(commits, st.sets(st.integers(0, 12))), min_size=1, max_size=4), fan_in=st.integers(2, 4))
def test_whatever_is_committed_the_newest_row_of_each_request_is_read_back(runs, fan_in):
    """Against a dict: any rows in any number of commits, merges and runs, each of which asks for some of them."""
    newest: dict[tuple[int, str], str | None] = {}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments_module, "FAN_IN", fan_in)
        for committed, wanted in runs:
            with Journal(Path(name)) as journal:
                for rows in committed:
                    journal.commit([row(number, text, digest) for number, digest, text in rows])
                    newest |= {(number, digest): text for number, digest, text in rows}
                known = journal.reusable()
                assert {key_of(f"r{number}", digest) for number, digest in newest} == {key for key, _ in known.items()}
                table, expected = KeyTable(), {}
                for number in sorted(wanted):
                    digest = next((digest for digest in "ed" if (number, digest) in newest), None)
                    if digest is not None:
                        table.put(key_of(f"r{number}"), key_of(f"r{number}", digest))
                        expected[f"r{number}"] = newest[number, digest]
                journal.finish(table)
            assert texts(Path(name)) == expected
            newest = {
                (number, digest): text
                for (number, digest), text in newest.items()
                if f"r{number}" in expected and digest == next(d for d in "ed" if (number, d) in newest)
            }
