"""A study whose lake is written by hand: its names and texts hold what Markdown, YAML, HTML and paths take for more."""

import polars as pl

from mbt_assets import benchmarks
from mbt_assets.definitions import build_platform
from mbt_assets.publishing import choose, publish
from mbt_assets.stage import provenance_of
from mbt_assets.staleness import assess
from mbt_assets.training_sets import completion_of, with_prompts
from partitions.grid import Grid, Node
from partitions.study_file import parse_study
from resources.home import Home
from resources.tables import JUDGED_TABLES, TABLES

WEIRD = 'we<script>ird "q" #1'
KEY = "sk-marked-0123456789"
STUDY = f"""
name: by_hand
description: "<script>alert(1)</script> | [a](http://b) `c` \\u202eturned \\"round\\"\\n---\\n# not a heading"
datasets:
  trails: {{benchmark: trails, train: {{name: train, limit: 6}}, validation: {{name: validation, limit: 4}}}}
  '{WEIRD}': {{benchmark: hotpotqa, train: {{name: train, limit: 6}}, validation: {{name: validation, limit: 4}}}}
training_datasets: [trails, '{WEIRD}']
models:
  pupil:
    role: student
    source: {{kind: hub, repo: nobody/pupil}}
    server: {{kind: vllm}}
    modes: [base, self-distill, mbt-s, mbt-r]
  master:
    role: teacher
    source: {{kind: hub, repo: nobody/master}}
    server: {{kind: openai, base_url: "http://me:{KEY}@127.0.0.1:9/v1", model: nobody}}
    sampling: {{extra: {{authorization: "Bearer {KEY}"}}}}
  zoe:
    role: judge
    source: {{kind: rules}}
    server: {{kind: rules, name: rule-judge}}
  ann:
    role: judge
    source: {{kind: rules}}
    server: {{kind: rules, name: rule-judge}}
teacher: master
judges: [zoe, ann]
"""
EVIL = "</think <script>alert('x')</script> | `` \u202e \u2028 \x07 \U0001f600"
CELL = "trails|pupil__base"
DEFAULTS = {pl.String: "", pl.Int64: 1, pl.Float64: 0.5, pl.Boolean: False}


def frame(table, rows):
    """Rows of a table; what a row leaves out is null, or anything that the column takes."""
    columns = TABLES[table].columns()
    fixed = {name: None if c.nullable else DEFAULTS.get(type(c.dtype), []) for name, c in columns.items()}
    return pl.DataFrame([fixed | row for row in rows], schema={name: c.dtype for name, c in columns.items()})


def put(platform, node, rows):
    """Write a partition as if it had been made now."""
    frame_ = rows if isinstance(rows, pl.DataFrame) else frame(node.asset, rows)
    platform.artifacts.lake.write(node, frame_, provenance_of(platform.artifacts, platform.study, node, "a-run"))


def questions(dataset, split, limit):
    """Generated questions; those of the dataset with the weird name end weirdly."""
    rows = benchmarks.load("trails", split, limit=limit)
    return [
        row | {"dataset": dataset, "question": row["question"] + (EVIL if dataset == WEIRD else "")} for row in rows
    ]


def fill_training(platform, dataset, asked):
    """All that the training sets of a dataset are made of, and those sets."""
    keys = [{"question_id": row["question_id"], "answer": row["answer"]} for row in asked]
    answered = {"dataset": dataset, "finish_reason": "stop", "reasoning": "it is", "content": "so"}
    put(platform, Node("train_questions", dataset), asked)
    put(platform, Node("gold_solutions", dataset), [answered | drop(key) | {"solution": "s"} for key in keys])
    for slug in ("pupil__base", "master__base"):
        rows = [answered | drop(key) | {"variant": slug, "rollout_id": 1} for key in keys]
        put(platform, Node("train_rollouts", f"{dataset}|{slug}"), rows)
    traced = [answered | drop(key) | {"trace": f"trace of {key['question_id']} {EVIL}"} for key in keys]
    put(
        platform,
        Node("synthesized_traces", f"{dataset}|master__mbt-s"),
        [row | {"variant": "master__mbt-s"} for row in traced],
    )
    rewritten = [row | {"variant": "pupil__mbt-r", "rollout_id": 1, "trace_id": i} for row in traced for i in (1, 2)]
    put(platform, Node("rewritten_traces", f"{dataset}|pupil__mbt-r"), rewritten)
    prompted = with_prompts(pl.DataFrame(asked)).select("question_id", "prompt")
    for mode, numbers in {"self-distill": [(1, 0)], "mbt-s": [(0, 0)], "mbt-r": [(1, 1), (1, 2)]}.items():
        rows = [
            {
                "dataset": dataset,
                "variant": f"pupil__{mode}",
                "question_id": key["question_id"],
                "rollout_id": rollout,
                "trace_id": trace,
                "completion": completion_of(f"trace of {key['question_id']} {EVIL}", key["answer"]),
            }
            for key in keys
            for rollout, trace in numbers
        ]
        made = frame("training_sets", rows).drop("prompt").join(prompted, on="question_id", maintain_order="left")
        put(platform, Node("training_sets", f"{dataset}|pupil__{mode}"), made)


def drop(key):
    return {"question_id": key["question_id"]}


def fill_cell(platform, key, asked, rollouts=2):
    """A cell with all its scores, by two judges; the scores lie in another order than the rollouts."""
    dataset, slug = key.split("|")
    keys = [{"question_id": row["question_id"], "rollout_id": i + 1} for row in asked for i in range(rollouts)]
    common = {"dataset": dataset, "variant": slug, "checkpoint_digest": "c0ffee"}
    text = "<think>\nhm\n</think>\n\n<answer>{}</answer> " + EVIL
    rows = [common | key | {"response": text.format(i), "error": None} for i, key in enumerate(keys)]
    rows[0] |= {"error": f"401 for http://x/v1?api_key={KEY}", "response": ""}
    put(platform, Node("validation_rollouts", key), rows)
    scores = [common | key | {"predicted_answer": str(i)} for i, key in enumerate(keys)]
    put(platform, Node("answer_scores", key), scores[::-1])
    for table in JUDGED_TABLES:
        judged = [
            common | key | {"judge": judge, "status": "scored", "reply": f"{judge} says {i}", "tier": "easy"}
            for i, key in enumerate(keys)
            for judge in ("ann", "zoe")
        ]
        kept = [{name: value for name, value in row.items() if name in TABLES[table].column_names()} for row in judged]
        put(platform, Node(table, key), kept[::-1])


def build(root):
    """The study's platform with its lake: all training sets, and the cell of the base model on each dataset."""
    platform = build_platform(parse_study(STUDY), Home(root, "by_hand"))
    for slug in ("pupil__base", "master__base"):
        put(platform, Node("base_models", slug), [{"variant": slug, "uri": f"hub://nobody/x@{'0' * 40}"}])
    put(platform, Node("checkpoints", "pupil__base"), [{"variant": "pupil__base", "uri": "hub://nobody/pupil"}])
    for dataset in platform.study.datasets:
        put(platform, Node("validation_questions", dataset), questions(dataset, "validation", 4))
    for dataset in platform.study.datasets:
        fill_training(platform, dataset, questions(dataset, "train", 6))
        fill_cell(platform, f"{dataset}|pupil__base", questions(dataset, "validation", 4))
    return platform


def chosen(platform, kind, **options):
    grid = Grid(platform.study)
    return choose(kind, grid, assess(grid, platform.artifacts), **options)


def published(platform, target, kind, *, allow_stale=False, datasets=(), variants=(), **options):
    """Publish to a folder, as the command does."""
    selection = chosen(platform, kind, datasets=datasets, variants=variants, allow_stale=allow_stale)
    lake = platform.artifacts.lake
    return publish(target, platform.study, lake, platform.home, selection, allow_stale=allow_stale, **options)
