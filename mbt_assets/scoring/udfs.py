"""The statistics that SQL lacks, as DuckDB functions.

What belongs here: thin adapters from Arrow columns to `stats`, `aes` and `agreement`. SQL calls them on lists with one
value per question (NULL where a question has none), or per rating.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL

from mbt_assets.scoring.aes import aes
from mbt_assets.scoring.agreement import kappa_of_counts, mcnemar_p, ordinal_alpha
from mbt_assets.scoring.ratings import Ratings
from mbt_assets.scoring.stats import RESAMPLES, SEED, Array, Bootstrap, Estimate, OfMeans, Statistic, itself

FUNCTIONS = (
    "bootstrap_mean",
    "bootstrap_difference",
    "bootstrap_ratio",
    "bootstrap_aes",
    "bootstrap_mqi_gain",
    "bootstrap_kappa",
    "bootstrap_alpha",
    "mcnemar_p",
)
"""Names of the functions that `register` creates."""

ESTIMATE = pa.struct([("n", pa.int64()), ("estimate", pa.float64()), ("lo", pa.float64()), ("hi", pa.float64())])
_ESTIMATE_SQL = "STRUCT(n BIGINT, estimate DOUBLE, lo DOUBLE, hi DOUBLE)"
_LIST_SQL = "DOUBLE[]"
_LABELS_SQL = "VARCHAR[]"

NOTHING = Statistic([np.empty(0)], itself)
"""Of no questions: NULL."""

Column: TypeAlias = "pa.ChunkedArray[Any]"


def register(connection: duckdb.DuckDBPyConnection, resamples: int = RESAMPLES, seed: int = SEED) -> None:
    """Create the functions that `sql/` uses on a connection, for as long as it is open.

    The `bootstrap_…` functions give an estimate, `STRUCT(n BIGINT, estimate, lo, hi DOUBLE)`: the questions that have
    a value in every list, the figure (NULL where it is undefined) and its 95 % interval over questions. A difference
    is of the questions that have both values; in the others each mean is over the questions that have its value:

    - `bootstrap_mean(x DOUBLE[])`: mean(x).
    - `bootstrap_difference(x, x_b DOUBLE[])`: mean(x) - mean(x_b), paired.
    - `bootstrap_ratio(a, b DOUBLE[])`: mean(a) / mean(b), or mean(a) where b is NULL.
    - `bootstrap_aes(a, l, a_b, l_b DOUBLE[], alpha, beta, gamma DOUBLE)`: AES.
    - `bootstrap_mqi_gain(m, l, m_b, l_b DOUBLE[])`: mean(m) mean(l_b) / mean(l) - mean(m_b), what MQI gains.
    - `bootstrap_kappa(questions, a, b VARCHAR[])`: Cohen's kappa of two ratings, one item per rating and its question.
    - `bootstrap_alpha(questions, a, b VARCHAR[])`: Krippendorff's ordinal alpha of two ratings that are numbers.

    and `mcnemar_p(b, c BIGINT) -> DOUBLE`. The n of kappa and alpha are ratings. A NULL argument gives NULL.

    Args:
        connection: An open DuckDB connection; functions of these names on it are replaced.
        resamples: Bootstrap resamples.
        seed: Seed of the draws.
    """
    resampled = _Functions(_bootstrap(resamples, seed))
    functions: list[tuple[str, Callable[..., pa.Array], list[Any], str]] = [
        ("bootstrap_mean", resampled.mean, [_LIST_SQL], _ESTIMATE_SQL),
        ("bootstrap_difference", resampled.difference, [_LIST_SQL] * 2, _ESTIMATE_SQL),
        ("bootstrap_ratio", resampled.ratio, [_LIST_SQL] * 2, _ESTIMATE_SQL),
        ("bootstrap_aes", resampled.aes, [_LIST_SQL] * 4 + ["DOUBLE"] * 3, _ESTIMATE_SQL),
        ("bootstrap_mqi_gain", resampled.mqi_gain, [_LIST_SQL] * 4, _ESTIMATE_SQL),
        ("bootstrap_kappa", resampled.kappa, [_LABELS_SQL] * 3, _ESTIMATE_SQL),
        ("bootstrap_alpha", resampled.alpha, [_LABELS_SQL] * 3, _ESTIMATE_SQL),
        ("mcnemar_p", _mcnemar, ["BIGINT"] * 2, "DOUBLE"),
    ]
    for name, function, parameters, returned in functions:
        _remove(connection, name)
        connection.create_function(name, function, parameters, returned, type=ARROW, null_handling=SPECIAL)


@lru_cache(maxsize=1)
def _bootstrap(resamples: int, seed: int) -> Bootstrap:
    """The draws of this process, which cost more than what is done with them in a small cell."""
    return Bootstrap(resamples, seed)


def forget_draws() -> None:
    """Free the draws that this process keeps, so that the next statement has to make them anew."""
    _bootstrap.cache_clear()


def _remove(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Drop a function that an earlier call registered."""
    with contextlib.suppress(duckdb.InvalidInputException):
        connection.remove_function(name)


class _Functions:
    """The resampling functions, sharing one bootstrap. DuckDB counts a function's parameters, so each is spelt out."""

    def __init__(self, bootstrap: Bootstrap) -> None:
        self._bootstrap = bootstrap

    def mean(self, values: Column) -> pa.Array:
        return self._statistic(itself, True, values)

    def difference(self, own: Column, base: Column) -> pa.Array:
        return self._statistic(np.subtract, True, own, base)

    def ratio(self, a: Column, b: Column) -> pa.Array:
        rows = zip(_rows(a), _rows(b), strict=True)
        requests = [_request(itself, False, (x,)) if by is None else _request(_ratio, False, (x, by)) for x, by in rows]
        return _structs(self._bootstrap.estimates(requests))

    def mqi_gain(self, level: Column, tokens: Column, base_level: Column, base_tokens: Column) -> pa.Array:
        return self._statistic(_mqi_gain, False, level, tokens, base_level, base_tokens)

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
        return self._statistic(aes, False, accuracy, tokens, base_accuracy, base_tokens, alpha, beta, gamma)

    def _statistic(self, of_means: OfMeans, paired: bool, *columns: Column) -> pa.Array:
        """The statistic of each row: its lists are resampled, the numbers after them are passed on to `of_means`."""
        requests = [_request(of_means, paired, row) for row in zip(*map(_rows, columns), strict=True)]
        return _structs(self._bootstrap.estimates(requests))

    def kappa(self, questions: Column, first: Column, second: Column) -> pa.Array:
        return self._rated(kappa_of_counts, str, questions, first, second)

    def alpha(self, questions: Column, first: Column, second: Column) -> pa.Array:
        return self._rated(ordinal_alpha, float, questions, first, second)

    def _rated(self, of_counts: Callable[[Array], Array], kind: Callable[[str], Any], *columns: Column) -> pa.Array:
        """A coefficient of each row's label pairs; all ratings of a question are resampled together."""
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        rated = [None if None in (a, b, q) else Ratings.of(q, a, b, kind) for q, a, b in rows]
        requests = [item.statistic(of_counts) if item else NOTHING for item in rated]
        found = self._bootstrap.estimates(requests)
        return _structs(
            estimate._replace(n=item.n) if item else estimate for estimate, item in zip(found, rated, strict=True)
        )


def _request(of_means: OfMeans, paired: bool, arguments: tuple[Any, ...]) -> Statistic:
    if any(argument is None for argument in arguments):
        return NOTHING
    lists = [argument for argument in arguments if isinstance(argument, np.ndarray)]
    return Statistic(lists, lambda *means: of_means(*means, *arguments[len(lists) :]), paired)


def _mcnemar(b: Column, c: Column) -> pa.Array:
    return _rowwise(mcnemar_p, b, c)


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


def _structs(estimates: Iterable[Estimate]) -> pa.Array:
    return pa.array([_struct(found) if found.n else None for found in estimates], type=ESTIMATE)


def _struct(found: Estimate) -> dict[str, Any]:
    ends = found.interval._asdict() if found.interval else {}
    return {"n": found.n, "estimate": found.value, **ends}


def _ratio(numerator: Array, denominator: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / denominator


def _mqi_gain(level: Array, tokens: Array, base_level: Array, base_tokens: Array) -> Array:
    return level * _ratio(base_tokens, tokens) - base_level
