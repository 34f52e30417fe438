"""The card: what it says, and that no name in it becomes a tag, a link, another cell or another line."""

import json

import pytest
import yaml
from huggingface_hub import DatasetCard
from markdown_it import MarkdownIt
from publishing_study import STUDY, WEIRD, published

from mbt_assets.benchmarks import BENCHMARKS
from mbt_assets.publishing.columns import columns_of
from mbt_assets.publishing.head import size_category
from mbt_assets.publishing.licences import card_licence, licence_note, terms_of
from mbt_assets.publishing.markdown import fenced, plain, visible
from partitions.study_file import parse_study


@pytest.fixture(scope="module", params=["training-sets", "rollouts"])
def given(shared, tmp_path_factory, request):
    target = tmp_path_factory.mktemp("given") / "rows"
    return target, published(shared, target, request.param)


def rendered(card):
    """The card's text as GitHub and the Hub would show it, raw HTML included."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(card)


def tables(card):
    """The cells of each line of each table."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card)
    rows = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append(0)
        elif token.type in ("td_open", "th_open"):
            rows[-1] += 1
        elif token.type == "table_close":
            yield rows
            rows = []


def test_the_head_is_what_the_hub_asks_for(given):
    card = DatasetCard.load(given[0] / "README.md")
    head = yaml.safe_load(card.content.split("\n---\n")[0].removeprefix("---\n"))
    assert head["language"] == ["en"] and head["size_categories"] == ["n<1K"]
    assert "question-answering" in head["task_categories"] and "mbt-assets" in head["tags"]
    assert (head["license"], head["license_link"]) == ("other", "LICENSE.md")
    assert [one["config_name"] for one in head["configs"]] == ["default", *(c.name for c in given[1].configs)]
    assert [one.get("default", False) for one in head["configs"]] == [True] + [False] * len(given[1].configs)


def test_names_and_descriptions_stay_words(given):
    body = DatasetCard.load(given[0] / "README.md").text
    shown = rendered(body)
    assert "<script" not in shown and 'href="http://b"' not in shown and "&lt;script&gt;" in shown
    assert "\u202e" not in body and "not a heading</h1>" not in shown
    found = list(tables(body))
    assert len(found) >= 6
    assert all(len(set(rows)) == 1 for rows in found), found
    configs = next(rows for rows in found if len(rows) == len(given[1].configs) + 1)
    assert configs[0] == 7


def test_every_column_is_described(given):
    body = DatasetCard.load(given[0] / "README.md").text
    for column in given[1].columns:
        assert f"| `{column.name}` |" in body
        assert column.description and all(field.description for field in column.fields), column
    assert all(column.description for column in columns_of("rollouts", documents=True))


def test_it_says_what_made_the_rows_and_under_which_terms(given):
    folder, made = given
    body = DatasetCard.load(folder / "README.md").text
    assert "CC BY-SA 4.0" in body and "Apache-2.0" in body and "arXiv:1809.09600" in body
    assert "https://huggingface.co/nobody/pupil" in body and "yours to check" in body
    assert ("a set of rules" in body) == (made.selection.kind == "rollouts")
    assert "arXiv:2602.22508" in body and made.version in body
    manifest = json.loads((folder / "provenance.json").read_bytes())
    partitions = {one["partition"]: one for one in manifest["partitions"]}
    for config in made.configs:
        assert partitions[str(config.part.node)]["data_version"][:12] in body
    assert "train_questions[trails]" in partitions or made.selection.kind == "rollouts"
    assert all(one["recipe"] is not None and one["fingerprint"] for one in partitions.values())
    assert set(manifest["files"]) == {
        "README.md",
        "LICENSE.md",
        *(file for config in made.configs for file in config.files),
    }
    licences = (folder / "LICENSE.md").read_text()
    assert "`trails--" in licences and "share-alike" in licences


def test_completions_are_told_by_what_they_were_made_from(shared, given, tmp_path):
    body = (given[0] / "README.md").read_text()
    responses, traces = "Completions of self-distill are responses", "Completions of mbt-s, mbt-r are traces"
    for text in (responses, traces):
        assert (plain(text) in body) == (given[1].selection.kind == "training-sets")
    if given[1].selection.kind == "training-sets":
        published(shared, tmp_path / "own", "training-sets", variants=["pupil__self-distill"])
        body = (tmp_path / "own" / "README.md").read_text()
        assert plain(responses) in body and "traces that models wrote" not in body


def test_only_what_can_be_cited_is(given):
    licences, citations = (given[0] / "README.md").read_text().split("## Citation")
    assert "a benchmark that mbt" in licences and "a benchmark that mbt" not in citations
    assert "2602.22508" in citations and "1809.09600" in citations


def test_one_licence_is_named_and_several_are_told_apart():
    study = parse_study(STUDY)
    trails, hotpot = terms_of(study, ["trails"]), terms_of(study, [WEIRD])
    assert card_licence(trails) == {"license": "apache-2.0"}
    assert card_licence(hotpot) == {"license": "cc-by-sa-4.0"}
    assert "under the same licence" in licence_note(hotpot) and "under the same" not in licence_note(trails)
    assert card_licence([*trails, *hotpot])["license"] == "other"
    assert {name: one.license for name, one in BENCHMARKS.items()} == {
        "trails": "apache-2.0",
        "hotpotqa": "cc-by-sa-4.0",
        "musique": "cc-by-4.0",
        "2wikimultihopqa": "apache-2.0",
    }


def test_a_benchmark_of_one_s_own_or_from_elsewhere_is_not_vouched_for(monkeypatch):
    content = yaml.safe_load(STUDY)
    content["datasets"]["trails"]["benchmark"] = "mine"
    content["datasets"][WEIRD]["hub_id"] = "somebody/copy"
    mine, copy = terms_of(parse_study(yaml.safe_dump(content)), ["trails", WEIRD])
    assert mine.license == "unknown" and "does not know" in licence_note([mine])
    assert copy.read_from == "somebody/copy"


@pytest.mark.parametrize(
    ("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (370_000, "100K<n<1M"), (10**10, "n>1B")]
)
def test_numbers_of_rows_have_the_hub_s_names(rows, name):
    assert size_category(rows) == name


def test_texts_are_shown_as_they_are():
    assert visible("a\u202eb\nc\x00") == "a\\u202eb c\\u0000"
    assert plain("a|b <i> `c`") == "a\\|b \\<i\\> \\`c\\`"
    assert fenced("a ``` b", "yaml") == "````yaml\na ``` b\n````"
