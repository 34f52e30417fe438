"""The paper's figures: what should be there is there, in files that never differ."""

import html
import io
import re
from xml.etree import ElementTree

import matplotlib as mpl
import polars as pl
import pytest
from hand_marts import STUDENT
from PIL import Image

from mbt_assets.tables.figures import DRAWINGS, caption, data_of, drawings_of, drawn
from mbt_assets.tables.frames import Marts
from mbt_assets.tables.sizes import parameters, places
from mbt_assets.tables.style import marks_of, styled
from partitions.modes import MODES
from partitions.study_file import load_study

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    """What is written in an SVG whose letters are outlines: each text's source stands in a comment."""
    return [html.unescape(text).strip() for text in re.findall(r"<!--(.*?)-->", svg.decode(), re.DOTALL)]


def cells_in(svg):
    """The ids of the points, bars or boxes of cells."""
    ids = [element.get("id", "") for element in ElementTree.fromstring(svg).iter(f"{SVG}g")]
    return sorted(name.removeprefix("cell-") for name in ids if name.startswith("cell-"))


@pytest.fixture
def svg(marts, study):
    return lambda name: drawn(DRAWINGS[name], data_of(DRAWINGS[name], marts, study), study, ["svg"])["svg"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("accuracy_tokens", {"base", "mbt-s", "mbt-r", "teacher"}),
        ("response_tokens", {"base", "mbt-s"}),
        ("aes_by_model", {"mbt-s", "mbt-r"}),
        ("rrp_plane", {"base", "mbt-s"}),
        ("mqi_phases", {"base", "mbt-s"}),
    ],
)
def test_every_cell_with_a_figure_is_drawn_and_no_other(svg, name, shown):
    variants = {f"tr_ails-{STUDENT}__{mode}" for mode in shown - {"teacher"}}
    variants |= {"tr_ails-teacher__base"} if "teacher" in shown else set()
    variants |= {f"wi&de-{STUDENT}__base"} if name == "accuracy_tokens" else set()
    assert set(cells_in(svg(name))) == variants


def test_panels_axes_and_legend_are_named(svg):
    said = texts(svg("accuracy_tokens"))
    assert {"tr_ails", "wi&de", "mean response tokens", "exact match (%)"} <= set(said)
    assert {"base", "mbt-s", "mbt-r", "teacher"} <= set(said)
    assert "wi&de" not in texts(svg("rrp_plane")), "a dataset without any profile has no panel"
    assert {"0.1", "0.5", "0.9", "arrival ρ", "redundancy δ"} <= set(texts(svg("rrp_plane")))


def test_phases_are_written_in_percent_and_what_is_missing_is_a_dash(svg):
    said = texts(svg("mqi_phases"))
    assert [said.count(share) for share in ("20", "40", "60", "80", "100")] == [2, 2, 2, 2, 2]
    assert said.count("–") == 10
    assert {STUDENT, "teacher", "MQI", "phase (%)"} <= set(said)


def test_a_figure_gives_the_same_bytes_every_time(svg):
    for name in DRAWINGS:
        first = svg(name)
        assert first == svg(name)
        assert b"<dc:date>" not in first


def test_no_letter_is_smaller_than_seven_points(marts, study):
    with mpl.rc_context():
        for drawing in DRAWINGS.values():
            with styled():
                figure = drawing.draw(data_of(drawing, marts, study))
                assert min(text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text()) >= 7


def test_a_png_has_the_size_that_was_asked_for(marts, study):
    drawing = DRAWINGS["aes_by_model"]
    data = data_of(drawing, marts, study)
    sizes = {dpi: Image.open(io.BytesIO(drawn(drawing, data, study, ["png"], dpi=dpi)["png"])) for dpi in (100, 200)}
    assert sizes[100].format == "PNG"
    assert sizes[100].size == (350, 285)
    assert sizes[200].size == (700, 570)
    assert "paired difference" in sizes[100].text["Description"]


def test_drawing_leaves_the_settings_of_others_alone(svg):
    before = dict(mpl.rcParams)
    svg("accuracy_tokens")
    assert dict(mpl.rcParams) == before


def test_where_there_is_no_number_there_is_no_figure(study, marts):
    empty = Marts({name: frame.clear() for name, frame in marts.frames.items()}, marts.lengths.clear())
    for drawing in DRAWINGS.values():
        assert drawn(drawing, data_of(drawing, empty, study), study, ["svg", "png"]) == {}


def test_a_figure_goes_with_its_table():
    assert [drawing.name for drawing in drawings_of(["aes", "rrp"])] == ["aes_by_model", "rrp_plane"]
    assert len(drawings_of(["main", "aes", "rrp", "mqi"])) == 5


def test_captions_tell_sizes_judge_and_what_is_missing(marts, study):
    said = caption(DRAWINGS["rrp_plane"], data_of(DRAWINGS["rrp_plane"], marts, study), study)
    assert "95 % percentile bootstrap over questions, 200 resamples" in said
    assert "Judge: judge_%." in said
    assert "2 of 4 cells have no figure yet." in said


def test_a_picture_of_the_embedded_study_says_what_it_is():
    study = load_study("embedded")
    rows = [("trails", "tiny__base", 3, 1, 2, 3, 4, 5)]
    names = ["dataset", "variant", "n", "p5", "p25", "p50", "p75", "p95"]
    marts = Marts({}, pl.DataFrame(rows, schema=names, orient="row"))
    drawing = DRAWINGS["response_tokens"]
    said = texts(drawn(drawing, data_of(drawing, marts, study), study, ["svg"])["svg"])
    assert "study embedded: shows that the platform works, no benchmark result" in said


def test_dollar_signs_in_names_are_no_formula(marts, study):
    """In titles, legends and tick labels: some that no formula can be read from, and some that one can."""
    odd = {STUDENT: "a$_$b", "teacher": "m_$x$_a", "tr_ails": "d$_$", "wi&de": "$e$"}
    models = {odd.get(name, name): model for name, model in study.models.items()}
    datasets = {odd[name]: dataset for name, dataset in study.datasets.items()}
    study = study.model_copy(update={"models": models, "datasets": datasets, "teacher": "m_$x$_a"})
    renamed = pl.col("dataset", "variant", "^model$").str.replace_many(list(odd), list(odd.values()))
    frames = {name: frame.with_columns(renamed) for name, frame in marts.frames.items()}
    odd_marts = Marts(frames, marts.lengths.with_columns(renamed))
    shown = {}
    for name, drawing in DRAWINGS.items():
        data = data_of(drawing, odd_marts, study)
        shown[name] = set(texts(drawn(drawing, data, study, ["svg"])["svg"]))
        with styled():
            assert not any(text.get_parse_math() for text in drawing.draw(data).findobj(mpl.text.Text))
    assert {"d$_$", "$e$", "m_$x$_a"} <= shown["accuracy_tokens"]
    assert {"d$_$", "a$_$b", "m_$x$_a"} <= shown["mqi_phases"]
    assert {"d$_$", "a$_$b"} <= shown["aes_by_model"]


@pytest.mark.filterwarnings("error")
def test_an_mqi_of_nothing_but_zeros_is_drawn(marts, study):
    zeros = marts.frames["mqi"].with_columns(pl.col("mqi", "mqi_lo", "mqi_hi") * 0)
    drawing = DRAWINGS["mqi_phases"]
    data = data_of(drawing, Marts(marts.frames | {"mqi": zeros}), study)
    assert cells_in(drawn(drawing, data, study, ["svg"])["svg"])


def test_every_mode_of_the_paper_looks_different():
    marks = marks_of(list(MODES))
    assert len(set(marks.values())) == len(MODES)
    assert marks["mbt-r-grpo"].colour == marks["mbt-r"].colour


def test_models_stand_by_their_size_where_all_names_tell_it():
    assert [parameters(name) for name in ("qwen3-0.6b", "gpt-oss-120B", "x-350m", "tiny", "v2-base")] == [
        *(0.6, 120, 0.35, None, None)
    ]
    assert places(["a-1b", "a-4b"]) == {"a-1b": 0, "a-4b": 2}
    assert places(["a-4b", "tiny"]) == {"a-4b": 0, "tiny": 1}
    assert places(["a-4b", "b-4b"]) == {"a-4b": 0, "b-4b": 1}
