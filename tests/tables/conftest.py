"""The marts of a hand-made study."""

import pytest
from hand_marts import STUDY, hand_marts

from partitions.study_file import parse_study


@pytest.fixture
def study():
    return parse_study(STUDY)


@pytest.fixture
def marts():
    """Two datasets: on the second only the base was run."""
    return hand_marts()
