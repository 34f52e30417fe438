"""Texts as pages show them: paragraphs with marks, wordings, and nothing that cannot be seen."""

from mbt_assets.explore.paragraphs import SHOWN, SHOWN_CHARACTERS, marked
from mbt_assets.explore.texts import shortened, visible
from mbt_assets.explore.wordings import MOST_WORDS, reworded
from mbt_assets.scoring.traces import mark


def profile(derives, redundant):
    return {"answer_paragraph": derives, "redundant_paragraphs": redundant}


def marks(trace):
    return [text for paragraph in trace.paragraphs for text, is_gold in paragraph.pieces if is_gold]


def test_controls_become_their_pictures_and_lines_stay():
    assert visible("NUL \x00, escape \x1b[31m\tand\nDEL \x7f") == "NUL ␀, escape ␛[31m\tand\nDEL ␡"
    assert visible("one\r\ntwo\rthree") == "one\ntwo␍three"
    assert visible("\x85") == "⟨U+0085⟩"


def test_what_turns_text_around_or_hides_becomes_its_number():
    assert visible("a\u202eb\u2066c") == "a⟨U+202E⟩b⟨U+2066⟩c"
    assert visible("zero\u200bwidth\ufeff") == "zero⟨U+200B⟩width⟨U+FEFF⟩"
    assert visible("half a pair \ud800") == "half a pair ⟨U+D800⟩"
    assert visible("a tag \U000e0041") == "a tag ⟨U+E0041⟩"


def test_texts_of_all_scripts_stay_as_they_are():
    text = "Ärger, 漢字, שלום, नमस्ते, 👩‍👩‍👧, <b>&amp;"
    assert visible(text) == text
    assert visible(None) == ""


def test_a_text_is_cut_at_its_end_and_says_so():
    assert shortened("word " * 100, 12) == "word word w…"
    assert shortened("word", 4) == "word"
    assert shortened(None) == ""


def test_paragraphs_are_numbered_as_the_judge_was_shown_them():
    text = "First.\n\n \n\nSecond one.\nStill it.\n\t\nThird."
    shown = marked(text, [], profile(2, [3])).paragraphs
    assert [p.number for p in shown] == [1, 2, 3]
    assert mark(text).split("\n[[M02]]")[0].endswith("".join(piece for piece, _ in shown[1].pieces))
    assert [(p.derives, p.redundant) for p in shown] == [(False, False), (True, False), (False, True)]


def test_gold_answers_are_marked_as_words_of_their_own_in_any_case():
    assert marks(marked("No: I know. So NO, (no).", ["no"], None)) == ["No", "NO", "no"]
    assert marks(marked("The old castle, the castle.", ["Castle", "the old castle"], None)) == [
        "The old castle",
        "castle",
    ]
    assert marks(marked("C++ is it.", ["C++", " "], None)) == ["C++"]
    assert marks(marked("anything", ["", "  "], None)) == []


def test_a_trace_without_a_profile_has_no_marked_paragraph():
    trace = marked("One.\n\nTwo.", ["x"], None)
    assert trace.derives is None
    assert not any(p.derives or p.redundant for p in trace.paragraphs)
    assert marked("", ["x"], None).count == 0


def test_of_very_many_paragraphs_the_first_are_shown_and_all_on_demand():
    text = "\n\n".join(f"Paragraph {n}." for n in range(1, 5001))
    trace = marked(text, ["4999"], profile(5000, [4999]))
    assert (len(trace.paragraphs), trace.count, trace.is_cut) == (SHOWN, 5000, True)
    whole = marked(text, ["4999"], profile(5000, [4999]), whole=True)
    assert (len(whole.paragraphs), whole.is_cut) == (5000, False)
    assert whole.paragraphs[-1].derives and whole.paragraphs[-2].redundant


def test_of_one_very_long_line_the_start_is_shown():
    trace = marked("x" * 1_000_000 + "\n\nThe end.", [], None)
    assert [p.left_out for p in trace.paragraphs] == [1_000_000 - SHOWN_CHARACTERS]
    assert trace.is_cut


def test_a_wording_tells_words_kept_removed_and_added():
    wording = reworded("I look for the mill. Hmm. It is Castle 2.", "I look for the mill. It is Castle 2. Done.")
    assert [(s.kind, s.text.strip()) for s in wording.stretches] == [
        ("same", "I look for the mill."),
        ("removed", "Hmm."),
        ("same", "It is Castle 2."),
        ("added", "Done."),
    ]
    assert (wording.kept, wording.before, wording.after) == (9, 10, 10)


def test_each_side_of_a_wording_reads_as_its_own_text():
    before, after = "One two\n\nthree the four  five.", "One three\nthe seven five six."
    stretches = reworded(before, after).stretches
    assert "".join(s.text for s in stretches if s.kind != "added").split() == before.split()
    assert "".join(s.text for s in stretches if s.kind != "removed") == after


def test_single_words_in_common_between_changes_are_no_islands():
    kinds = [s.kind for s in reworded("a b the c d e f g", "x y the z d e f g").stretches]
    assert kinds == ["removed", "added", "same"]


def test_texts_too_long_to_compare_have_no_wording():
    assert reworded("word " * (MOST_WORDS + 1), "word") is None
    assert reworded("", "").stretches == []
