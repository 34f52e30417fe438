"""Checkpoint folders of a few bytes: whole by every rule, and no model."""

import json

import numpy as np
from safetensors.numpy import save_file


def write_checkpoint(folder, text="weights"):
    """A whole checkpoint whose weights are the bytes of a text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "model.safetensors", text)
    return folder


def write_weights(path, text):
    save_file({"w": np.frombuffer(text.encode(), dtype=np.uint8)}, path)


def write_adapter(folder, base, text="adapter", rank=8, revision=None):
    """A LoRA adapter on a base."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"base_model_name_or_path": str(base), "peft_type": "LORA", "r": rank, "revision": revision}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "adapter_model.safetensors", text)
    return folder
