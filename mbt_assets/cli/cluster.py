"""`mbt cluster`: what the project makes on Kubernetes, the model servers there, and stopping those that are idle."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.markup import escape
from rich.table import Table

from mbt_assets.cli import complete
from mbt_assets.cli.common import JsonOption, StudyOption, err, out, print_json, working

if TYPE_CHECKING:
    from resources.k8s.cluster import Cluster

app = typer.Typer(
    help="Kubernetes: the model servers of a cluster, and the objects that a study makes there.", no_args_is_help=True
)
OfStudy = Annotated[str | None, typer.Option("--study", "-s", help="Of this study alone, by its name.")]


@app.command()
def render(
    study: StudyOption = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Of this model alone.", autocompletion=complete.models)
    ] = None,
) -> None:
    """Print the objects of a study's model servers and trainings as YAML, for review.

    The servers are those of the base weights as the study names them. What a run makes differs in the digest that
    ends a name, and in the revision, which is a commit there.
    """
    from partitions.study_file import load_study
    from resources.k8s.cluster import Cluster, ClusterError, load_cluster
    from resources.k8s.study_objects import payload_pods, study_objects

    chosen = load_study(study)
    if model and model not in chosen.models:
        raise ClusterError(f"there is no model {model!r} in {chosen.name}; there are: {', '.join(chosen.models)}")
    # Without a cluster of one's own, what the defaults of a cluster file give.
    cluster, models = load_cluster() or Cluster(), [model] if model else list(chosen.models)
    objects = [*study_objects(cluster, chosen, models), *payload_pods(cluster, chosen, models)]
    print(yaml.dump_all(objects, Dumper=_Plain, sort_keys=False), end="")


@app.command()
def servers(study: OfStudy = None, as_json: JsonOption = False) -> None:
    """Show the model servers of the cluster: their pods, who uses them, and for how long nobody has."""
    from resources.k8s.reaper import standings
    from resources.k8s.workloads import api_errors

    cluster = _connected()
    with working("asking the cluster"), api_errors("reading the model servers"):
        found = standings(cluster, study)
    rows = [dataclasses.asdict(standing) for standing in found]
    if as_json:
        print_json(rows)
    else:
        out.print(_table(cluster.namespace, rows))


@app.command()
def idle(study: OfStudy = None) -> None:
    """Scale model servers to zero that nobody has used for their idle time-out: one pass, for a CronJob.

    One that has been at zero for a day is deleted. Users that were killed are forgotten.
    """
    from resources.k8s.reaper import reap
    from resources.k8s.workloads import api_errors

    cluster = _connected()
    with api_errors("stopping idle model servers"):
        for line in reap(cluster, study):
            err.print(escape(line))


def _connected() -> Cluster:
    from resources.k8s.client import FEW_TRIES, connect
    from resources.k8s.cluster import VARIABLE, ClusterError, load_cluster

    cluster = load_cluster()
    if cluster is None:
        raise ClusterError(f"no cluster is named: set {VARIABLE} to a cluster file (docs/kubernetes.md)")
    connect(cluster, FEW_TRIES)
    return cluster


def _table(namespace: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"namespace {escape(namespace)}: {len(rows)} model servers")
    for column in ("study", "model", "name"):
        table.add_column(column, overflow="fold")
    for column in ("pods", "ready", "users", "idle seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        idle_s = "·" if row["idle_s"] is None else f"{row['idle_s']:.0f} of {row['idle_timeout_s']:.0f}"
        named = (escape(row["study"]), escape(row["model"]), escape(row["name"]))
        table.add_row(*named, str(row["replicas"]), str(row["ready"]), str(row["users"]), idle_s)
    return table


class _Plain(yaml.SafeDumper):
    """Writes what stands in several places in each of them: anchors are hard to review."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
