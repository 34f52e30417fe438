"""The Dagster instance of a study: where its records lie, and what keeps it in order for months."""


class InstanceError(RuntimeError):
    """The instance cannot be used as it is; the message says what is wrong, where, and what to do."""
