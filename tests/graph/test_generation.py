import dagster as dg
import polars as pl

from mbt_assets.generation import ask_model
from mbt_assets.stage import Stage
from partitions.grid import Node
from partitions.study import Sampling
from resources.engine import Endpoint


def test_nothing_to_ask_gives_a_frame_with_all_columns_and_sends_nothing(made):
    platform, _ = made
    resources = platform.resources
    node = Node("rewritten_traces", "trails|tiny__mbt-r")
    stage = Stage(
        dg.build_asset_context(),
        platform.study,
        node,
        platform.artifacts.lake,
        platform.home,
        resources["servers"],
        resources["compute"],
    )
    nowhere = Endpoint("http://127.0.0.1:9/v1", "nobody", "digest")
    frame = ask_model(stage, nowhere, "mbt_r", [], Sampling(), ("question_id", "rollout_id", "trace_id"))
    assert frame.height == 0
    assert frame.schema["trace_id"] == pl.Int64()
    assert {"response", "reasoning", "error", "prompt_digest", "request_digest"} <= set(frame.columns)
