"""The asset graph of Metacognitive Behavioral Tuning: one file per stage, and what the stages compute with."""

__version__ = "0.1.0"
