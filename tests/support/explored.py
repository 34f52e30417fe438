"""A small finished study, written by hand through the real lake in seconds: what the explorer's tests look at."""

import contextlib
import logging
import shutil
import threading
from types import SimpleNamespace

import polars as pl
import uvicorn
from explored_rows import (
    ACCENTS,
    BASE,
    CELLS,
    MBT_R,
    MBT_S,
    QUESTIONS,
    ROLLOUTS,
    SCRIPT,
    STUDY,
    digest,
    gold,
    judged,
    question,
    reply_columns,
    rollout,
    trace_of,
)

from mbt_assets import marts, scores, training_sets
from mbt_assets.definitions import build_platform
from mbt_assets.explore.app import build
from mbt_assets.explore.source import Source
from mbt_assets.marts import build_warehouse
from mbt_assets.stage import Stage, provenance_of
from partitions.grid import CELL_SQL, MARTS, Node, cell_key
from partitions.modes import MODES
from partitions.study import split_variant
from partitions.study_file import parse_study
from resources.home import Home
from resources.lake import Stored
from resources.tables import JUDGED_TABLES, TABLES

MAKERS = {
    spec.name: spec.make
    for spec in (*scores.STAGES, *marts.STAGES, *training_sets.STAGES)
    if spec.name not in JUDGED_TABLES
}
"""What makes a partition of what is stored already, without a model: as the graph makes it."""


class Explored:
    """The home of a study, and what writes to it.

    Args:
        root: an empty folder.
    """

    def __init__(self, root):
        self.study = parse_study(STUDY)
        self.platform = build_platform(self.study, Home(root, self.study.name))
        self.lake = self.platform.artifacts.lake

    def put(self, table, key, rows):
        """Write rows (dicts) as a partition, noted as made of what is stored of its parents now."""
        types = {name: column.dtype for name, column in TABLES[table].columns().items()}
        self._write(
            Node(table, key), pl.DataFrame([{name: row.get(name) for name in types} for row in rows], schema=types)
        )

    def make(self, table, key=""):
        """Make a partition of what is stored, as the graph does."""
        node = Node(table, key)
        context = SimpleNamespace(log=logging.getLogger("explored"))
        stage = Stage(context, self.study, node, self.lake, self.platform.home, None, None)
        self._write(node, MAKERS[table](stage))

    def _write(self, node, frame):
        provenance = provenance_of(self.platform.artifacts, self.study, node, "by-hand")
        self.lake.write(node, frame, provenance)

    def rows(self, table, key):
        """What is stored, as dicts."""
        return self.lake.read(Node(table, key)).rows(named=True)

    def cell(self, dataset, variant):
        """A cell's rollouts and all that is made of them."""
        key = cell_key(dataset, variant)
        asked = [question(dataset, number + 1) for number in range(QUESTIONS[dataset])]
        drawn = [rollout(self.study, row, variant, draw + 1) for row in asked for draw in range(ROLLOUTS)]
        self.put("validation_rollouts", key, drawn)
        self.make("answer_scores", key)
        of = {row["question_id"]: row for row in asked}
        for table in JUDGED_TABLES:
            rows = [{**of[row["question_id"]], **row} for row in drawn]
            self.put(table, key, [judged(table, row, judge) for judge in self.study.judges for row in rows])
        self.put("judge_retests", key, [])
        for table in CELL_SQL:
            self.make(table, key)

    def outdate(self, dataset, variant):
        """Put other rollouts in a cell's place, as where a re-score is under way: its scores are of those before."""
        key = cell_key(dataset, variant)
        rows = self.rows("validation_rollouts", key)
        self.put("validation_rollouts", key, [{**row, "latency_ms": 1.0} for row in rows])

    def questions(self):
        """The questions of both sides."""
        for dataset, count in QUESTIONS.items():
            rows = [question(dataset, number + 1) for number in range(count)]
            self.put("validation_questions", dataset, rows)
        rows = [{**question("trails", number), "question_id": f"train/{number}"} for number in (1, 2, 3)]
        self.put("train_questions", "trails", rows)

    def training(self):
        """Drafts of the base, their rewrites and synthesized traces, and the sets that students are trained on."""
        asked = self.rows("train_questions", "trails")
        drafts, solved, rewritten, synthesized = [], [], [], []
        for row in asked:
            number, keys = row["sample_id"], {"dataset": "trails", "question_id": row["question_id"]}
            trace = trace_of(MBT_R, number, gold(number))
            taught = reply_columns("", f"<trace>{trace}</trace>", request_digest=digest("taught", number))
            solved.append({**keys, **taught, "solution": f"Milestone {number}, hence {gold(number)}."})
            synthesized.append({**keys, **taught, "variant": "rule-teacher__mbt-s", "trace": trace})
            for draw in range(ROLLOUTS):
                own = {**rollout(self.study, row, BASE, draw + 1), "request_digest": digest("draft", number, draw)}
                drafts.append({**own, "error": None})
                kept = f"{trace}\n\n{SCRIPT if number == 2 else ACCENTS}"
                rewritten.append(
                    {**keys, **taught, "variant": MBT_R, "rollout_id": draw + 1, "trace_id": 1, "trace": kept}
                )
        self.put("train_rollouts", f"trails|{BASE}", drafts)
        self.put("gold_solutions", "trails", solved)
        self.put("synthesized_traces", "trails|rule-teacher__mbt-s", synthesized)
        self.put("rewritten_traces", f"trails|{MBT_R}", rewritten)
        for variant in (MBT_S, MBT_R):
            self.make("training_sets", f"trails|{variant}")

    def weights(self, variant):
        """A variant's weights, which are files that nobody loads, with how they were trained."""
        model, mode = split_variant(variant)
        folder = self.platform.home.checkpoints / variant
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(variant.encode())
        row = {"variant": variant, "model": model, "uri": str(folder), "digest": digest("weights", variant)}
        row |= {"mode": mode, "kind": MODES[mode].kind}
        if variant == BASE:
            self.put("base_models", variant, [row])
        else:
            set_of = self.lake.stored(Node("training_sets", f"trails|{variant}")).data_version
            row |= {"parent_digest": digest("weights", BASE), "training_set_digest": set_of}
            trained = {"rows": 6, "rows_too_long": 0, "steps": 3, "final_loss": 1.25, "seconds": 2.0, "tokens": 900}
            curve = [{"step": step + 1, "loss": 2.0 - step / 4} for step in range(3)]
            self.put("sft_checkpoints", variant, [{**row, **trained, "curve": curve}])
        self.put("checkpoints", variant, [row])

    def figures(self):
        """The marts, and the warehouse over everything."""
        for mart in MARTS:
            self.make(mart)
        self.warehouse()

    def warehouse(self):
        """Build the warehouse anew, in the place of the one that is there."""
        provenance = provenance_of(self.platform.artifacts, self.study, Node("warehouse"), "by-hand")
        counts = build_warehouse(self.lake, self.platform.artifacts, self.study)
        self.platform.artifacts.record("warehouse", Stored("by-hand", sum(counts.values()), provenance))


def explored(root):
    """The whole study: two datasets, three variants, one cell missing, one whose scores are stale."""
    home = Explored(root)
    home.questions()
    home.weights(BASE)
    home.training()
    home.weights(MBT_S)
    home.weights(MBT_R)
    for dataset, variants in CELLS.items():
        for variant in variants:
            home.cell(dataset, variant)
    home.figures()
    home.outdate("trails", MBT_S)
    return home


def copy_of(home, folder):
    """A copy of a study in a new folder, for tests that change something."""
    shutil.copytree(home.platform.home.root, folder, symlinks=True)
    copied = Explored(folder)
    copied.warehouse()
    return copied


@contextlib.contextmanager
def served(platform, **settings):
    """The explorer over a home, on a free port of this machine; gives its address."""
    app = build(Source(platform), **settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the server ended"
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
