"""From Python values to Arrow columns.

Through buffers, because `pa.array` imports pandas first: that would delay the first commit by half a second and hold
30 MB. Not through polars, whose threads do not survive a fork of the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

_NUMBERS = {pa.int64(): np.int64, pa.float64(): np.float64}


def flags(values: Sequence[bool] | np.ndarray) -> pa.BooleanArray:
    """Flags as an Arrow array."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, _bits(values)])


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values, None for NULL, as an Arrow array.

    Args:
        values: Texts, whole numbers, floats or flags, as `kind` says.
        kind: string, int64, float64 or bool.
    """
    missing = values.count(None)
    if missing == len(values):
        return pa.nulls(len(values), kind)
    validity = _bits([value is not None for value in values]) if missing else None
    return pa.Array.from_buffers(kind, len(values), [validity, *_buffers(values, kind)], missing)


def _buffers(values: Sequence[Any], kind: pa.DataType) -> list[pa.Buffer]:
    if kind == pa.bool_():
        return [_bits([bool(value) for value in values])]
    if kind == pa.string():
        texts = [value.encode() if value else b"" for value in values]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        return [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return [pa.py_buffer(np.array([value or 0 for value in values], dtype=_NUMBERS[kind]))]


def _bits(values: Sequence[bool] | np.ndarray) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.asarray(values, dtype=bool), bitorder="little"))
