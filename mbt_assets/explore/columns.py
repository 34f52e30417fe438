"""Columns of a query's result: what can be done with each, and the SQL for what a page or a file shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CUT = 1000
"""Characters of a text that a page gets of it."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so for a formula."""
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
NOT_IN_PARQUET = ("INTERVAL", "UNION", "BIGNUM")
"""Types that a Parquet file does not hold, by themselves or within others; a struct without fields is another."""
NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT")

Kind = Literal["number", "time", "text", "nested"]
Form = Literal["csv", "parquet"]


@dataclass(frozen=True)
class Column:
    """A column of a result.

    Attributes:
        number: its position, from 1: two columns may share a name.
        name: as the statement calls it.
        dtype: DuckDB's type.
        kind: what can be done with it.
    """

    number: int
    name: str
    dtype: str
    kind: Kind

    @property
    def alias(self) -> str:
        """Its name in the statements that are made around the person's."""
        return f"c{self.number}"

    @property
    def short(self) -> str:
        """SQL for what a page shows of it."""
        # Python has no date beyond its year 9999, nor an infinite one: DuckDB writes them.
        if self.kind == "number" or self.dtype == "BOOLEAN":
            return self.alias
        return f"left(CAST({self.alias} AS VARCHAR), {CUT}) AS {self.alias}"

    def written(self, form: Form, for_spreadsheet: bool) -> str:
        """SQL for what a file gets of it.

        Args:
            form: of the file.
            for_spreadsheet: put an apostrophe before texts of a CSV file that a spreadsheet takes for formulas.
        """
        if form == "parquet":
            is_storable = not any(name in self.dtype for name in NOT_IN_PARQUET) and self.dtype != "STRUCT"
            return self.alias if is_storable else f"CAST({self.alias} AS VARCHAR)"
        if self.kind in ("number", "time") or self.dtype == "BOOLEAN":
            return self.alias
        # A list in a cell of a table is best read again as JSON.
        whole = f"to_json({self.alias})" if self.kind == "nested" else self.alias
        text = f"CAST({whole} AS VARCHAR)"
        starts = ", ".join(f"chr({ord(sign)})" for sign in FORMULA)
        return (
            f"CASE WHEN left({text}, 1) IN ({starts}) THEN '''' || {text} ELSE {text} END" if for_spreadsheet else text
        )


def kind_of(dtype: str) -> Kind:
    """What can be done with a column of DuckDB's type."""
    if dtype.endswith("]") or dtype.startswith(NESTED):
        return "nested"
    if dtype.removeprefix("U").startswith(NUMBERS):
        return "number"
    return "time" if dtype.startswith(("DATE", "TIMESTAMP")) else "text"


def distinct(names: list[str]) -> list[str]:
    """The names, of which none repeats: `a`, `a_2`."""
    found: list[str] = []
    for name in names:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found
