"""An example for the help of each command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

EXAMPLES = {
    "demo": "mbt demo --variant tiny__mbt-s --dataset trails",
    "ui": "mbt ui --study paper --port 3000",
    "explore": "mbt explore --open",
    "status": "mbt status --study paper --json",
    "doctor": "mbt doctor --study paper",
    "checkpoints": "mbt checkpoints --verify",
    "servers": "mbt servers --stop",
    "sql": 'mbt sql "select dataset, variant, aes from aes order by aes desc" --format csv',
    "tables": "mbt tables --only main,aes --format latex --out paper",
    "report": "mbt report --out results.html",
    "export": "mbt export results.duckdb --no-text --tables marts",
    "score": "mbt score predictions.jsonl --out scores.parquet",
    "generate": "mbt generate requests.jsonl --out replies --base-url http://127.0.0.1:8000/v1 --model qwen3-4b",
    "fetch": "mbt fetch --study paper --dry-run",
    "import rollouts": "mbt import rollouts rollouts.jsonl --dataset hotpotqa --model qwen3-4b --mode mbt-r",
    "import forget": "mbt import forget --dataset hotpotqa --model qwen3-4b --mode mbt-r",
    "publish training-sets": "mbt publish training-sets --to training-sets --variant tiny__mbt-s",
    "publish rollouts": "mbt publish rollouts --to rollouts --dataset trails",
    "publish push": "mbt publish push rollouts --repo owner/name",
    "instance init": "mbt instance init --pool gpu=4 --runs 8",
    "instance migrate": "mbt instance migrate --check",
    "instance prune": "mbt instance prune --older-than 90d --yes",
    "instance info": "mbt instance info --json",
    "study validate": "mbt study validate my-study.yaml",
    "study show": "mbt study show --study paper",
    "cluster render": "mbt cluster render --study paper --model qwen3-4b",
    "cluster servers": "mbt cluster servers --json",
    "cluster idle": "mbt cluster idle --study paper",
}
"""One line for each command, by its full name."""


def add_examples(app: typer.Typer, prefix: str = "") -> None:
    """Put each command's example below its help, where it has none."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "").replace("_", "-")
        example = EXAMPLES.get(f"{prefix}{name}")
        if example and not command.epilog:
            command.epilog = f"Example: {example}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_examples(group.typer_instance, f"{prefix}{group.name} ")
