"""Pure scoring functions: text and numbers in, scores out.

What belongs here: every definition of a metric, once. Nothing here touches files, the network or Dagster.
"""
