"""The paper's tables as text, against tables worked by hand."""

import io

import duckdb
import polars as pl
import pytest
from hand_marts import STUDENT, mart, point
from hand_marts import tested as differences
from pylatexenc.latexwalker import LatexWalker

from mbt_assets.tables import render
from mbt_assets.tables.entries import table_of
from mbt_assets.tables.frames import LENGTHS, Marts, rows_of
from mbt_assets.tables.layout import LAYOUTS, Interval
from partitions.study_file import load_study


def rows_in(markdown):
    """The cells of each row of a Markdown table, by model and mode."""
    lines = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines() if line[:1] == "|"
    ]
    return {(line[0], line[1]): line[2:] for line in lines}


@pytest.fixture
def printed(marts, study):
    """The Markdown rows of a table."""
    return lambda name, **options: rows_in(render.markdown(table_of(LAYOUTS[name], marts, study, **options)))


def test_the_main_table_in_markdown(printed):
    nothing = ["– (n=0)"] * 4
    assert printed("main") == {
        ("model", "mode"): [f"{d} {c}" for d in (r"tr\_ails", r"wi\&de") for c in ("EM", "F1", "Judge", "Tokens")],
        ("---", "---"): ["---:"] * 8,
        (r"stu\#dent-1b", "base"): [
            *("50.0 ± 25.0", "50.0 ± 25.0", "50.0 ± 25.0", "1,000.0 ± 100.0"),
            *("0.0 ± 0.0", "0.0 ± 0.0", "0.0 ± 0.0", "70.0 ± 0.0"),
        ],
        (r"stu\#dent-1b", "mbt-s"): [
            r"**75.0**\* ± 25.0",
            "**80.0** ± 10.0",
            "**62.5**† ± 15.0",
            r"**600.0**\* ± 45.0",
            *nothing,
        ],
        (r"stu\#dent-1b", "mbt-r"): ["**75.0** ± 20.0", "70.0 ± 10.0", "– (n=0)", "800.0 ± 20.0", *nothing],
        ("teacher", "base"): ["100.0 ± 0.0", "100.0 ± 0.0", "100.0 ± 0.0", "50.0 ± 0.0", *nothing],
    }


def test_the_other_tables_in_markdown(printed):
    student = r"stu\#dent-1b"
    assert printed("aes", datasets=["tr_ails"])[student, "mbt-s"] == [
        *("**40.0**", "**50.0**", r"**1.90**\* ± 0.80", "– (n=7)")
    ]
    assert printed("aes")[student, "base"] == ["0.0", "0.0", "0.00", "0.00", "0.0", *["– (n=8)"] * 3]
    assert printed("rrp", datasets=["tr_ails"])[student, "mbt-s"] == [
        *("**0.250**† ± 0.050", "**0.100**† ± 0.050", "**0.800**† ± 0.100", "– (n=6)", "– (n=6)")
    ]
    assert printed("mqi", datasets=["tr_ails"])[student, "mbt-s"] == [
        *("**4.00** ± 0.50", "**6.67** ± 0.50", "20", "40", "60", "80", "100")
    ]


def test_figures_that_print_alike_are_best_together_and_the_best_of_one_is_nothing(printed):
    rows = printed("main", interval=Interval.none)
    assert [rows[r"stu\#dent-1b", mode][0] for mode in ("base", "mbt-s", "mbt-r")] == [
        "50.0",
        r"**75.0**\*",
        "**75.0**",
    ]
    assert "**" not in " ".join(rows["teacher", "base"])


def test_intervals_by_their_ends(printed):
    assert printed("main", interval=Interval.ends)[r"stu\#dent-1b", "mbt-r"][0] == r"**75.0** \[50.0, 90.0\]"


def test_the_notes_say_how_the_numbers_came_about(marts, study):
    said = table_of(LAYOUTS["main"], marts, study).notes
    assert "Means over n questions: tr_ails 8, wi&de 8." in said
    assert "Intervals: 95 % percentile bootstrap over questions, 200 resamples; ± is half the width." in said
    assert "Judge: judge_%." in said
    assert (
        "† fewer scores than responses stand behind the figure, or behind the base's that it is compared with: "
        f"tr_ails {STUDENT} mbt-s 7 of 8 judged."
    ) in said
    said = " ".join(table_of(LAYOUTS["aes"], marts, study, interval=Interval.none).notes)
    assert "; the base variant has an exact match of 0 (1 cell)." in said
    assert "Intervals" not in said
    assert "no benchmark results" not in said


def of_two(study, changes, layout="main", **significance):
    """A table of one dataset, of a base and one variant whose counts the test is about."""
    figures = {"exact_match": point(0.5), "mean_tokens": point(50.0)}
    gained = {"delta_tokens": point(0.5), "delta_accuracy": point(-0.25), "aes": point(0.1)}
    modes = ("base", "mbt-s")
    main = [("tr_ails", STUDENT, mode, figures | changes.get(mode, {})) for mode in modes]
    aes = [("tr_ails", STUDENT, mode, gained) for mode in modes]
    frames = {"main_results": mart("main_results", *main), "aes": mart("aes", *aes)} | significance
    return table_of(LAYOUTS[layout], Marts(frames), study, ["tr_ails"])


def marks_in(table):
    """The marks of each of the student's entries, by mode."""
    (block,) = [block for block in table.blocks if block.model == STUDENT]
    return {row.mode: [entry.marks for entry in row.entries] for row in block.rows}


def test_tokens_that_few_responses_have_are_marked_and_so_is_what_is_compared_with_them(study):
    few = {"base": {"n_tokens": 4}}
    tests = differences(("tr_ails", "mbt-s", "mean_tokens", (-9.0, -10.0, -8.0)))
    main, aes = (of_two(study, few, layout, significance=tests) for layout in ("main", "aes"))
    assert (marks_in(main)["base"], marks_in(main)["mbt-s"]) == (["", "", "", "†"], ["", "", "", "*†"])
    # Tokens are in ΔL and AES, and not in ΔA.
    assert marks_in(aes)["base"] == marks_in(aes)["mbt-s"] == ["†", "", "†", ""]
    for table in (main, aes):
        assert any(note.endswith(f": tr_ails {STUDENT} base 4 of 8 with known tokens.") for note in table.notes)
    assert marks_in(of_two(study, {"mbt-s": {"n_tokens": 4}}, "aes"))["base"] == ["", "", "", ""]


def test_a_response_that_never_came_is_told_once(study):
    (said,) = [n for n in of_two(study, {"base": {"n_failed": 2, "n_tokens": 6}}).notes if n.startswith("†")]
    assert said.endswith(f"compared with: tr_ails {STUDENT} base 6 of 8.")


def test_a_cell_of_fewer_questions_than_others_is_marked(study):
    few = {"mbt-s": {"n_questions": 5}}
    for layout in ("main", "aes"):
        table = of_two(study, few, layout)
        assert set(marks_in(table)["base"]) == {""}
        assert marks_in(table)["mbt-s"][0] == "‡"
        (said,) = [note for note in table.notes if note.startswith("‡")]
        assert said.endswith(f"cover: tr_ails {STUDENT} mbt-s 5 of 8.")
    assert "**50.0**‡ ± 0.0" in render.markdown(of_two(study, few))
    assert r"\textbf{50.0}$^{\ddagger}$" in render.latex(of_two(study, few))


def test_what_is_compared_with_a_base_of_fewer_questions_is_marked(study):
    few = {"base": {"n_questions": 5}}
    assert marks_in(of_two(study, few))["mbt-s"] == ["", "", "", ""]
    assert marks_in(of_two(study, few, "aes"))["mbt-s"] == ["‡", "‡", "‡", ""]
    assert not [note for note in of_two(study, {}).notes if note[0] in "†‡"]


def test_marts_of_an_older_version_do_not_count_tokens(marts, study):
    frames = marts.frames | {"main_results": marts.frames["main_results"].drop("n_tokens")}
    for layout in LAYOUTS.values():
        assert table_of(layout, Marts(frames), study).blocks


def test_many_cells_with_few_scores_are_counted(study):
    few = {"exact_match": point(0.5), "f1": point(0.5), "judge_accuracy": point(0.5), "mean_tokens": point(9.0)}
    cells = [(d, m, mode) for d in ("tr_ails", "wi&de") for m, mode in [(STUDENT, "base"), (STUDENT, "mbt-s")]]
    rows = [(*cell, few | {"n_verdicts": 5, "n_failed": 2}) for cell in cells]
    (said,) = [
        note
        for note in table_of(LAYOUTS["main"], Marts({"main_results": mart("main_results", *rows)}), study).notes
        if note.startswith("†")
    ]
    assert said.endswith(" 6 of 8, tr_ails stu#dent-1b base 5 of 8 judged, tr_ails stu#dent-1b mbt-s 5 of 8 judged "
                         "and 2 more (see the CSV).")  # fmt: skip


def test_the_embedded_study_says_what_its_numbers_are(marts):
    embedded = load_study("embedded")
    for layout in LAYOUTS.values():
        assert "They are no benchmark results." in table_of(layout, marts, embedded).notes[-1]


def test_a_row_in_latex(marts, study):
    text = render.latex(table_of(LAYOUTS["main"], marts, study, ["tr_ails"]))
    assert (
        r"mbt-s & \textbf{75.0}$^{*}$\,{\scriptsize $\pm$ 25.0} & \textbf{80.0}\,{\scriptsize $\pm$ 10.0} "
        r"& \textbf{62.5}$^{\dagger}$\,{\scriptsize $\pm$ 15.0} & \textbf{600.0}$^{*}$\,{\scriptsize $\pm$ 45.0} \\"
    ) in text.splitlines()
    assert r"\multicolumn{5}{l}{\textit{stu\#dent-1b}} \\" in text
    assert r"judge\_\%" in text
    assert r" & \multicolumn{4}{c}{tr\_ails} \\" in text


@pytest.mark.parametrize("interval", Interval)
@pytest.mark.parametrize("name", LAYOUTS)
def test_latex_is_well_formed(marts, study, name, interval):
    """Every group and environment is closed, and every row has as many columns as the table says."""
    text = render.latex(table_of(LAYOUTS[name], marts, study, interval=interval))
    walker = LatexWalker(text, tolerant_parsing=False)
    nodes, _, _ = walker.get_latex_nodes()
    assert [node.environmentname for node in nodes if hasattr(node, "environmentname")] == ["table*"]
    assert text.isascii()
    width = 1 + 2 * len(LAYOUTS[name].columns)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 2 + 4
    for row in rows:
        plain = row.replace(r"\&", "")
        spans = [int(part.split("}")[0]) - 1 for part in plain.split(r"\multicolumn{")[1:]]
        assert 1 + plain.count("&") + sum(spans) == width, row


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 5 % #1 ~x {y} $z^2$", r"a\_b \& 5 \% \#1 \textasciitilde{}x \{y\} \$z\textasciicircum{}2\$"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("ρ ± 1 – †", r"$\rho$ $\pm$ 1 -- $^{\dagger}$"),
    ],
)
def test_latex_is_escaped(text, latex):
    assert render.latex_text(text) == latex


def test_a_negative_number_has_a_minus_and_zero_none(study):
    rows = [("tr_ails", STUDENT, m, {"delta_tokens": point(v)}) for m, v in [("base", -0.0001), ("mbt-s", -0.25)]]
    table = table_of(LAYOUTS["aes"], Marts({"aes": mart("aes", *rows)}), study, ["tr_ails"])
    lines = render.latex(table).splitlines()
    assert r"base & \textbf{0.0} & -- & -- & -- \\" in lines
    assert r"mbt-s & $-$25.0 & -- & -- & -- \\" in lines


def test_markdown_takes_no_name_for_a_formula():
    assert render.markdown_text("a$_$b") == r"a\$\_\$b"


def test_html_is_escaped(marts, study):
    text = render.html(table_of(LAYOUTS["main"], marts, study))
    assert "wi&amp;de" in text and "wi&de" not in text
    assert "<strong>75.0</strong>* <small>± 25.0</small>" in text


def test_the_csv_has_everything_in_full_precision(marts, study):
    text = render.csv(rows_of(LAYOUTS["main"], marts, study))
    frame = pl.read_csv(io.StringIO(text))
    row = frame.row(by_predicate=(pl.col("mode") == "mbt-r") & (pl.col("dataset") == "tr_ails"), named=True)
    assert (row["exact_match"], row["exact_match_lo"], row["exact_match_hi"]) == (0.7499, 0.5, 0.9)
    assert (row["exact_match_difference"], row["exact_match_mcnemar_p"], row["n_rollouts"]) == (0.2499, 0.5, 8)
    assert row["judge_accuracy"] is None
    assert frame["variant"].to_list()[:4] == [f"{STUDENT}__{m}" for m in ("base", "mbt-s", "mbt-r")] + ["teacher__base"]
    assert frame.height == 8


def test_only_the_primary_judge_and_all_tiers_are_shown(marts, study):
    for name in ("rrp", "mqi"):
        assert rows_of(LAYOUTS[name], marts, study).height == 8


def test_datasets_below_each_other(marts, study):
    text = render.markdown(table_of(LAYOUTS["main"], marts, study), narrow=True)
    first, second = text.split("### ")[1:]
    assert first.startswith("tr\\_ails\n\n| model | mode | EM | F1 | Judge | Tokens |")
    assert "| teacher | base | 100.0 ± 0.0 | 100.0 ± 0.0 | 100.0 ± 0.0 | 50.0 ± 0.0 |" in first
    assert "| stu\\#dent-1b | base | 0.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | 70.0 ± 0.0 |" in second


def lengths(values, failed=False):
    """The quantiles that DuckDB gives for some response lengths."""
    with duckdb.connect() as connection:
        rows = pl.DataFrame({"completion_tokens": values}, schema={"completion_tokens": pl.Int64}).with_columns(
            dataset=pl.lit("d"), variant=pl.lit("v"), failed=pl.lit(failed)
        )
        connection.register("answer_scores", rows)
        return connection.sql(LENGTHS).pl()


def test_lengths_up_to_256_tokens_are_exact():
    row = lengths([*range(1, 101), None]).row(0, named=True)
    assert (row["n"], row["p5"], row["p25"], row["p50"], row["p75"], row["p95"]) == (100, 5, 25, 50, 75, 95)
    assert lengths([0, 0, 7]).row(0, named=True)["p50"] == 0
    assert lengths([5], failed=True).is_empty()


def test_longer_lengths_are_less_than_one_percent_off():
    for length in (257, 1000, 4097, 32_767, 1_000_000):
        found = lengths([length] * 3).row(0, named=True)["p50"]
        assert 0.99 * length < found <= length
