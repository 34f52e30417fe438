"""One cell of a small study, made asset by asset in the test's own process, judged by whom the test says."""

from dataclasses import dataclass

import dagster as dg
from judge_server import JudgeServer
from small import SMALL

from jobs.runner import QUIET
from mbt_assets.definitions import Platform
from partitions.grid import Node
from partitions.model_sources import RemoteServer
from resources.tables import JUDGED_TABLES

CELL = "trails|rule-teacher__base"
KEYS = ("judge", "score", "kind", "question_id", "rollout_id")
MANY = "limit: 12}, validation: {name: validation, limit: 60}"
STUDY = SMALL.replace("limit: 12}, validation: {name: validation, limit: 12}", MANY)
TASKS = dict(
    zip(JUDGED_TABLES, ("answer grading", "answer hit", "reach and redundancy", "metacognitive quality"), strict=True)
)


@dataclass
class Cell:
    """One cell of a study, made asset by asset in this process."""

    platform: Platform

    def make(self, *tables, key=CELL):
        """Materialize some assets of the cell as one Dagster run."""
        return dg.materialize(
            self.platform.assets,
            selection=[dg.AssetKey(table) for table in tables],
            partition_key=key,
            instance=dg.DagsterInstance.ephemeral(),
            resources=self.platform.resources,
            run_config=QUIET,
            raise_on_error=False,
        )

    def rows(self, table):
        """What lies in the lake."""
        rows = self.platform.artifacts.lake.read(Node(table, CELL))
        return rows.sort(name for name in KEYS if name in rows.columns)


def judged_by(study, judges, structured=None, context_tokens=None, **limits):
    """A study whose judges answer at some servers: of the test's own, or as a study's entry says."""
    template = study.models["rule-judge"]
    models = {name: model for name, model in study.models.items() if model.role != "judge"}
    for name, server in judges.items():
        if isinstance(server, JudgeServer):
            server = RemoteServer(kind="openai", base_url=server.base_url, model="rule-judge", structured=structured)
        models[name] = template.model_copy(update={"server": server, "context_tokens": context_tokens})
    limits = study.limits.model_copy(update={"max_failure_rate": 1.0, "retest_sample": 10} | limits)
    return study.model_copy(update={"models": models, "judges": list(judges), "limits": limits})
