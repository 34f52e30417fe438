"""Publishing: training sets or scored rollouts as a folder in the layout of a data set on the Hugging Face Hub."""

from __future__ import annotations

from mbt_assets.publishing.choice import Kind, PublishingError, Selection, choose
from mbt_assets.publishing.folders import check_folder
from mbt_assets.publishing.made import Made
from mbt_assets.publishing.writing import publish

__all__ = ["Kind", "Made", "PublishingError", "Selection", "check_folder", "choose", "publish"]
