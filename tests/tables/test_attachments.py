"""What a mart's materialization shows in the UI."""

import base64
import io
import logging

import dagster as dg
import pytest
from PIL import Image

from mbt_assets.cli.instance import open_instance
from mbt_assets.tables import attachments as module
from mbt_assets.tables.attachments import attachments

MARTS = ["main_results", "aes", "rrp_profile", "mqi"]


def picture(metadata):
    """The PNG in a figure's Markdown."""
    _, _, data = metadata["figure"].value.partition("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(data.removesuffix(")"))))


@pytest.mark.parametrize("mart", MARTS)
def test_each_mart_of_the_paper_has_a_table_and_a_figure(marts, study, mart):
    shown = attachments(mart, marts.frames[mart], study)
    assert shown["table"].value.startswith("## ")
    assert r"| stu\#dent-1b | mbt-s |" in shown["table"].value
    assert picture(shown).format == "PNG"
    assert len(shown["figure"].value) < 300_000


def test_other_marts_have_none(marts, study):
    assert attachments("significance", marts.frames["significance"], study) == {}


def test_a_figure_that_fails_is_a_warning_and_the_table_stays(marts, study, monkeypatch, caplog):
    monkeypatch.setattr(module, "LARGEST", 10)
    monkeypatch.setattr(logging.getLogger("dagster"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        shown = attachments("aes", marts.frames["aes"], study)
    assert list(shown) == ["table"]
    assert "aes has no table or figure: ValueError: the figure aes_by_model takes" in caplog.text


def test_a_mart_without_rows_has_its_table_alone(marts, study):
    assert list(attachments("mqi", marts.frames["mqi"].clear(), study)) == ["table"]


def test_they_are_metadata_of_a_real_run(made):
    platform, _ = made
    with open_instance(platform.home) as instance:
        for mart in MARTS:
            event = instance.get_latest_materialization_event(dg.AssetKey(mart))
            shown = event.asset_materialization.metadata
            assert "| rule-teacher | base |" in shown["table"].value
            # Of the teacher alone there is no AES of any mode.
            assert ("figure" in shown) == (mart != "aes")
