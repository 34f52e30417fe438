"""The small study with trainings of a few steps: a student that is hardly taught, and checkpoints of every kind."""

from small import SMALL, run

from jobs.plan import ancestors, units
from partitions.grid import Node
from partitions.study_file import parse_study

TRAINING = """
sft:
  trl: {max_steps: 3, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, logging_steps: 1, max_length: 512}
  by_mode:
    direct-r: {peft: {r: 4, target_modules: all-linear}, adapter: serve}
    distill-r: {peft: {r: 4, target_modules: all-linear}, trl: {max_steps: 2}}
grpo:
  limit: 4
  trl: {max_steps: 1, per_device_train_batch_size: 4, num_generations: 4, max_completion_length: 8,
        gradient_accumulation_steps: 1, logging_steps: 1}
limits: {keep_checkpoints: 1, max_truncated_rate: 1.0}
"""
MODES = "[base, mbt-s, direct-r, mbt-s-grpo]"
VARIANTS = ["tiny__mbt-s", "tiny__direct-r", "tiny__mbt-s-grpo"]


QUICK = "source: {kind: embedded, spec: {recall_steps: 2, recital_steps: 1, draft_steps: 2, batch_size: 4}}"


def study_of(training=TRAINING, modes=MODES, train="train"):
    text = SMALL.replace("source: {kind: embedded}", QUICK).replace("modes: [base, mbt-s]", f"modes: {modes}")
    return parse_study(text.replace("train: {name: train, ", f"train: {{name: {train}, ") + training)


def make(platform, *nodes, **options):
    return run(platform, units(platform.axes.grid, ancestors(platform.axes.grid, nodes)), **options)


def row_of(platform, asset, slug):
    return platform.artifacts.lake.read(Node(asset, slug)).row(0, named=True)
