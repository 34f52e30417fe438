"""Tags of Dagster runs that more than one room reads."""

MADE_BY_TAG = "mbt/made_by"
"""Tag of a run that another one makes in a process of its own: that one's id."""
