"""Which licence the texts of a published folder are under: that of the benchmark that each row's question is from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mbt_assets.benchmarks import BENCHMARKS
from mbt_assets.benchmarks.embedded import NAME as GENERATED
from mbt_assets.publishing.made import Made
from mbt_assets.publishing.markdown import plain
from partitions.study import Study

UNKNOWN = "unknown"
SHARES = "-sa-"
"""Stands in the name of a licence that changed rows have to be passed on under."""
LICENSE_FILE = "LICENSE.md"
NAMES = {"apache-2.0": "Apache-2.0", "cc-by-4.0": "CC BY 4.0", "cc-by-sa-4.0": "CC BY-SA 4.0"}
"""How licences are written in a text, by the Hub's word for them."""
LINKS = {
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-sa-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}


@dataclass(frozen=True)
class Terms:
    """The terms of one dataset's texts.

    Attributes:
        dataset: the study's name for it.
        benchmark: the benchmark's.
        license: the Hub's word for its licence.
        source: whom its texts are from.
        citation: what to cite; empty where there is nothing to.
        language: of its texts.
        read_from: repository that the study reads it from, where that is not the benchmark's own.
    """

    dataset: str
    benchmark: str
    license: str
    source: str
    citation: str
    language: str
    read_from: str | None

    @property
    def name(self) -> str:
        """The licence as a text writes it."""
        return NAMES.get(self.license, self.license)

    @property
    def link(self) -> str | None:
        """Where its text stands; None where that is not known."""
        return LINKS.get(self.license)


def terms_of(study: Study, datasets: Iterable[str]) -> tuple[Terms, ...]:
    """The terms of some datasets of a study."""
    found = []
    for name in dict.fromkeys(datasets):
        entry = study.datasets[name]
        known = BENCHMARKS.get(entry.benchmark)
        license_, source, language = (known.license, known.citation, known.language) if known else (None, "", "en")
        citation = "" if entry.benchmark == GENERATED else source
        elsewhere = entry.hub_id if known is None or entry.hub_id != known.hub_id else None
        found.append(Terms(name, entry.benchmark, license_ or UNKNOWN, source, citation, language, elsewhere))
    return tuple(found)


def card_licence(terms: Iterable[Terms]) -> dict[str, str]:
    """What the card's head says of the licence.

    Where every row is under the same one, that is it. Otherwise the folder is a collection whose configurations keep
    their own: naming the most permissive would promise too much, and naming all would let a search for one of them
    find rows that are under another. The Hub's word for that is `other`, with a file that tells which is which.
    """
    licences = {one.license for one in terms}
    if len(licences) == 1:
        return {"license": licences.pop()}
    return {"license": "other", "license_name": "by-configuration", "license_link": LICENSE_FILE}


def licence_note(terms: Iterable[Terms]) -> str:
    """What is said of the licence in words."""
    licences = sorted({one.license for one in terms})
    if licences == [UNKNOWN]:
        return "The project does not know the licence of this benchmark: find it out before you pass these rows on."
    if len(licences) == 1:
        same = " Whoever passes on changed rows has to do so under the same licence." if SHARES in licences[0] else ""
        name = plain(NAMES.get(licences[0], licences[0]))
        return f"Questions, answers and documents in these rows are under {name}.{same}"
    shares = (
        " Rows of a share-alike benchmark stay under its licence wherever they go, so `default`, which has all rows, "
        "can only be used under the terms of all of them."
        if any(SHARES in name for name in licences)
        else " `default` has all rows, and with them the terms of all."
    )
    return f"Each configuration is under the licence of its own benchmark; `{LICENSE_FILE}` lists them.{shares}"


def licence_file(made: Made) -> str:
    """`LICENSE.md` of a folder whose configurations are under several licences."""
    terms = {one.dataset: one for one in terms_of(made.study, made.datasets)}
    lines = [f"* `{config.name}`: {_linked(terms[config.part.dataset])}" for config in made.configs]
    return "\n".join(["# Licences", "", licence_note(terms.values()), "", *lines, ""])


def _linked(terms: Terms) -> str:
    source = f", {plain(terms.source)}" if terms.source else ""
    return (f"[{plain(terms.name)}]({terms.link})" if terms.link else plain(terms.name)) + source
