"""The statistics that SQL lacks, as DuckDB functions.

What belongs here: thin adapters from Arrow columns to `stats`, `aes` and `agreement`. SQL calls them on lists with one
value per question, made with `list(x order by question_id)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL

from mbt_assets.scoring.aes import aes
from mbt_assets.scoring.agreement import cohen_kappa, mcnemar_p
from mbt_assets.scoring.stats import RESAMPLES, SEED, Array, Bootstrap, Interval, OfMeans

FUNCTIONS = ("bootstrap_mean", "bootstrap_ratio", "bootstrap_aes", "bootstrap_mqi_gain", "mcnemar_p", "cohen_kappa")
"""Names of the functions that `register` creates."""

INTERVAL = pa.struct([("lo", pa.float64()), ("hi", pa.float64())])
_INTERVAL_SQL = "STRUCT(lo DOUBLE, hi DOUBLE)"
_LIST_SQL = "DOUBLE[]"

Column: TypeAlias = "pa.ChunkedArray[Any]"


def register(connection: duckdb.DuckDBPyConnection, resamples: int = RESAMPLES, seed: int = SEED) -> None:
    """Create the functions that `sql/` uses on a connection, for as long as it is open.

    - `bootstrap_mean(values DOUBLE[]) -> STRUCT(lo, hi)`: interval of the mean; NULL for no values.
    - `bootstrap_ratio(a, b DOUBLE[]) -> STRUCT(lo, hi)`: interval of mean(a) / mean(b) over paired questions.
    - `bootstrap_aes(a, l, a_b, l_b DOUBLE[], alpha, beta, gamma DOUBLE) -> STRUCT(lo, hi)`: interval of AES.
    - `bootstrap_mqi_gain(m, l, m_b, l_b DOUBLE[]) -> STRUCT(lo, hi)`: interval of mean(m) mean(l_b) / mean(l) -
      mean(m_b), what MQI gains on its base.
    - `mcnemar_p(b, c BIGINT) -> DOUBLE` and `cohen_kappa(a, b VARCHAR[]) -> DOUBLE`.

    In lists, a NULL drops its question. A NULL argument gives NULL.

    Args:
        connection: An open DuckDB connection; functions of these names on it are replaced.
        resamples: Bootstrap resamples.
        seed: Seed of the draws.
    """
    resampled = _Functions(Bootstrap(resamples, seed))
    functions: list[tuple[str, Callable[..., pa.Array], list[Any], str]] = [
        ("bootstrap_mean", resampled.mean, [_LIST_SQL], _INTERVAL_SQL),
        ("bootstrap_ratio", resampled.ratio, [_LIST_SQL] * 2, _INTERVAL_SQL),
        ("bootstrap_aes", resampled.aes, [_LIST_SQL] * 4 + ["DOUBLE"] * 3, _INTERVAL_SQL),
        ("bootstrap_mqi_gain", resampled.mqi_gain, [_LIST_SQL] * 4, _INTERVAL_SQL),
        ("mcnemar_p", _mcnemar, ["BIGINT"] * 2, "DOUBLE"),
        ("cohen_kappa", _kappa, ["VARCHAR[]"] * 2, "DOUBLE"),
    ]
    for name, function, parameters, returned in functions:
        _remove(connection, name)
        connection.create_function(name, function, parameters, returned, type=ARROW, null_handling=SPECIAL)


def _remove(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Drop a function that an earlier call registered."""
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.remove_function(name)


class _Functions:
    """The resampling functions, sharing one bootstrap. DuckDB counts a function's parameters, so each is spelt out."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self._bootstrap = bootstrap

    def mean(self, values: Column) -> pa.Array:
        rows = [np.empty(0) if row is None else row for row in _rows(values)]
        return _structs(self._bootstrap.mean_of_each(rows))

    def ratio(self, a: Column, b: Column) -> pa.Array:
        return self._statistic(_ratio, a, b)

    def mqi_gain(self, level: Column, tokens: Column, base_level: Column, base_tokens: Column) -> pa.Array:
        return self._statistic(_mqi_gain, level, tokens, base_level, base_tokens)

    def aes(
        self,
        accuracy: Column,
        tokens: Column,
        base_accuracy: Column,
        base_tokens: Column,
        alpha: Column,
        beta: Column,
        gamma: Column,
    ) -> pa.Array:
        return self._statistic(aes, accuracy, tokens, base_accuracy, base_tokens, alpha, beta, gamma)

    def _statistic(self, of_means: OfMeans, *columns: Column) -> pa.Array:
        """The statistic of each row: its lists are resampled, the numbers after them are passed on to `of_means`."""
        requests = [_request(of_means, row) for row in zip(*map(_rows, columns), strict=True)]
        return _structs(self._bootstrap.each(requests))


def _request(of_means: OfMeans, arguments: tuple[Any, ...]) -> tuple[list[Array], OfMeans]:
    if any(argument is None for argument in arguments):
        return [np.empty(0)], of_means  # no questions: NULL
    lists = [argument for argument in arguments if isinstance(argument, np.ndarray)]
    return lists, lambda *means: of_means(*means, *arguments[len(lists) :])


def _mcnemar(b: Column, c: Column) -> pa.Array:
    return _rowwise(mcnemar_p, b, c)


def _kappa(a: Column, b: Column) -> pa.Array:
    return _rowwise(cohen_kappa, a, b)


def _rowwise(function: Callable[[Any, Any], float | None], first: Column, second: Column) -> pa.Array:
    rows = zip(first.to_pylist(), second.to_pylist(), strict=True)
    return pa.array([None if a is None or b is None else function(a, b) for a, b in rows], type=pa.float64())


def _rows(column: Column) -> Iterable[Any]:
    """Each row of an Arrow column: an array for a list (NULL items become NaN), a number, or None."""
    for chunk in column.chunks:
        if not isinstance(chunk, pa.ListArray):
            yield from chunk.to_pylist()
            continue
        items = chunk.values.to_numpy(zero_copy_only=False)
        offsets, missing = chunk.offsets.to_numpy(), chunk.is_null().to_numpy(zero_copy_only=False)
        for position, is_missing in enumerate(missing):
            yield None if is_missing else items[offsets[position] : offsets[position + 1]]


def _structs(intervals: Iterable[Interval | None]) -> pa.Array:
    return pa.array([found and found._asdict() for found in intervals], type=INTERVAL)


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / denominator


def _mqi_gain(level: Array, tokens: Array, base_level: Array, base_tokens: Array) -> Array:
    return level * _ratio(base_tokens, tokens) - base_level
