"""Answer scores of many rows at once, with the bits that `answers.score` gives row by row.

What belongs here: the columnar fast path. What the scores mean is said once, in `answers`.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl

from mbt_assets.scoring.answers import CLOSED_ANSWERS, SCORE_COLUMNS, normalize

# Printable ASCII, Latin letters, dashes and quotation marks: here polars and Python agree on lower case, words and
# white space, in any release of Unicode. U+0130 is left out: in lower case it becomes a letter and a mark, and marks
# are part of a word to polars alone.
_UNLIKE = r"[^ -~\u00C0-\u012F\u0131-\u024F\u2010-\u2027\u2030-\u203E]"
_PUNCTUATION = r"[!-/:-@\[-`{-~]+"
_ARTICLE = r"\b(?:a|an|the)\b"


def score_frame(frame: pl.DataFrame) -> pl.DataFrame:
    """Score many rows at once, with the same bits as `answers.score` row by row.

    Args:
        frame: One row per prediction, with columns `prediction` (str; null counts as empty) and `references` (list of
            str; a null list or item counts as absent). Other columns pass through.

    Returns:
        The frame with `exact_match`, `substring_match`, `f1`, `f1_plain` (float), `unscorable_gold` (bool) and
        `normalized_prediction` (str) added, rows in the same order.

    Raises:
        TypeError: A column has another type.
        polars.exceptions.ColumnNotFoundError: A column is missing.
    """
    for column, wanted in (("prediction", pl.String()), ("references", pl.List(pl.String()))):
        if frame[column].dtype not in (wanted, pl.Null(), pl.List(pl.Null())):
            raise TypeError(f"column {column!r} must be {wanted}, got {frame[column].dtype}")
    predictions = normalize_series(frame["prediction"])
    rows = pl.DataFrame({"prediction": predictions, "reference": frame["references"].cast(pl.List(pl.String()))})
    rows = rows.with_columns(p=pl.col("prediction").str.split(" "), row=pl.int_range(pl.len()))
    pairs = rows.explode("reference")
    pairs = pairs.with_columns(reference=normalize_series(pairs["reference"])).filter(pl.col("reference") != "")
    return frame.with_columns(_best(_pair_scores(pairs), frame.height), normalized_prediction=predictions)


def normalize_series(texts: pl.Series) -> pl.Series:
    """`answers.normalize` over a column; null gives the empty string.

    Text of ASCII, Latin letters, dashes and quotation marks goes through polars' regular expressions, any other text
    through `answers.normalize` itself.
    """
    text = pl.col("text")
    lazy = texts.cast(pl.String()).fill_null("").to_frame("text").lazy()
    normal = text.str.to_lowercase().str.replace_all(_PUNCTUATION, "").str.replace_all(_ARTICLE, " ")
    normal = normal.str.replace_all("  +", " ").str.strip_chars(" ")
    frame = lazy.with_columns(unlike=text.str.contains(_UNLIKE), normal=normal).collect(engine="streaming")
    positions = frame["unlike"].arg_true()
    if positions.is_empty():
        return frame["normal"]
    unlike = frame["text"].gather(positions)
    exact = {item: normalize(item) for item in unlike.unique()}
    return frame["normal"].scatter(positions, pl.Series([exact[item] for item in unlike], dtype=pl.String))


def _pair_scores(pairs: pl.DataFrame) -> pl.DataFrame:
    """The four scores of each normalised pair (row, prediction and its tokens p, reference), references not empty."""
    p, r, shared = pl.col("p"), pl.col("r"), pl.col("shared")
    same, closed = pl.col("prediction") == pl.col("reference"), list(CLOSED_ANSWERS)
    one_is_closed = pl.col("prediction").is_in(closed) | pl.col("reference").is_in(closed)
    precision, recall = shared / p.list.len(), shared / r.list.len()
    lazy = pairs.lazy().with_columns(
        r=pl.col("reference").str.split(" "),
        exact_match=same.cast(pl.Float64),
        substring_match=pl.col("prediction").str.contains(pl.col("reference"), literal=True).cast(pl.Float64),
    )
    lazy = lazy.with_columns(shared=p.list.set_intersection(r).list.len())
    counted = _recount_repeated(lazy.collect(engine="streaming"))  # which uses every core
    return counted.with_columns(
        f1_plain=pl.when(shared > 0).then((2 * precision * recall) / (precision + recall)).otherwise(0.0)
    ).with_columns(f1=pl.when(one_is_closed & ~same).then(0.0).otherwise("f1_plain"))


def _best(pairs: pl.DataFrame, rows: int) -> pl.DataFrame:
    """The best of each row's pairs, which stand in the order of the rows; a row without any has no gold to match."""
    row = pairs["row"].to_numpy()
    firsts = np.flatnonzero(np.diff(row, prepend=-1))
    scores = np.zeros((len(SCORE_COLUMNS), rows))
    if len(row):
        for name, best in zip(SCORE_COLUMNS, scores, strict=True):
            best[row[firsts]] = np.maximum.reduceat(pairs[name].to_numpy(), firsts)
    unscorable = np.ones(rows, dtype=bool)
    unscorable[row] = False
    return pl.DataFrame(dict(zip(SCORE_COLUMNS, scores, strict=True)) | {"unscorable_gold": unscorable})


def _recount_repeated(pairs: pl.DataFrame) -> pl.DataFrame:
    """Count shared tokens as multisets where a token repeats on both sides; elsewhere the sets have said it all."""
    p, r, shared = pl.col("p"), pl.col("r"), pl.col("shared")
    # Only pairs with more tokens than shared ones on either side can share a token twice: few, and cheap to find.
    more = pairs.with_row_index("pair").filter((shared > 0) & (shared < p.list.len()) & (shared < r.list.len()))
    few = more.filter((p.list.n_unique() < p.list.len()) & (r.list.n_unique() < r.list.len()))
    if few.is_empty():
        return pairs
    counts = [(Counter(left) & Counter(right)).total() for left, right in zip(few["p"], few["r"], strict=True)]
    exact = pairs["shared"].scatter(few["pair"], pl.Series(counts, dtype=pairs["shared"].dtype))
    return pairs.with_columns(exact)
