import pytest
from small_training import VARIANTS, make, study_of

from mbt_assets.definitions import build_platform
from partitions.grid import Node
from resources.home import Home


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Every variant trained and registered; the base, and the adapter that is served, validated on `wide`."""
    pytest.importorskip("torch", reason="the payloads need the train extra")
    platform = build_platform(study_of(), Home(tmp_path_factory.mktemp("home"), "small"))
    cells = [Node("cell_metrics", f"wide|{slug}") for slug in ("tiny__base", "tiny__direct-r")]
    reports = make(platform, *(Node("checkpoints", slug) for slug in VARIANTS), *cells)
    assert {report.outcome for report in reports.values()} == {"made"}, [r.why for r in reports.values()]
    return platform
