"""The final folder of a training: weights or an adapter, and the tokenizer; nothing of the trainer's own.

One process writes; the others only help to gather weights that are spread over them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, Trainer

from mbt_assets.payloads.bases import MERGED_FOLDER, dtype_of, load_model, merge
from mbt_assets.payloads.train_spec import TrainSpec

TRAINER_FOLDER = "trainer"


def save_final(
    trainer: Trainer, spec: TrainSpec, tokenizer: PreTrainedTokenizerBase, stored: torch.dtype, is_main: bool
) -> None:
    """Leaves the trained model and the tokenizer in `out_dir`, and removes what only the training needed.

    Args:
        trainer: after its training, in every process.
        spec: says whether LoRA was trained, and whether its adapter is merged.
        tokenizer: saved as it is.
        stored: dtype of the weights in the folder, where they are not merged into those of `base`.
        is_main: whether this process writes.
    """
    # Every process has to take part in gathering; the first one gets the whole.
    gathered = trainer.accelerator.get_state_dict(trainer.model) if trainer.is_fsdp_enabled else None
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    trainer.accelerator.wait_for_everyone()
    if not is_main:
        return
    out_dir = Path(spec.out_dir)
    if spec.peft is None:
        _save_weights(model, out_dir, stored, gathered)
    elif spec.adapter:
        _save_adapter(model, out_dir, spec, gathered)
    else:
        folder = out_dir / TRAINER_FOLDER / "adapter"
        _save_adapter(model, folder, spec, gathered)
        # Not into the weights at hand: they may be quantised, or in pieces.
        options = {"trust_remote_code": spec.trust_remote_code}
        base = load_model(spec.base, revision=spec.revision, dtype=torch.float32, **options)
        _save_weights(merge(base, folder), out_dir, dtype_of(base))
    tokenizer.save_pretrained(out_dir)
    for name in (TRAINER_FOLDER, MERGED_FOLDER):
        shutil.rmtree(out_dir / name, ignore_errors=True)


def _save_weights(model: Any, folder: Path, stored: torch.dtype, gathered: dict[str, Any] | None = None) -> None:
    if gathered is None:
        model.to(stored).save_pretrained(folder)
        return
    # Gathering made two of what the model has once under two names.
    tied = model.all_tied_weights_keys
    weights = {
        name: value.to(stored) if value.is_floating_point() else value
        for name, value in gathered.items()
        if name not in tied
    }
    model.save_pretrained(folder, state_dict=weights)
    # It wrote down the dtype of the pieces, which are in float32.
    model.config.dtype = stored
    model.config.save_pretrained(folder)


def _save_adapter(model: Any, folder: Path, spec: TrainSpec, gathered: dict[str, Any] | None) -> None:
    for config in model.peft_config.values():
        # Loading may have gone through a copy; the adapter belongs to what the spec names.
        config.base_model_name_or_path, config.revision = spec.base, spec.revision
    model.save_pretrained(folder, state_dict=gathered, save_embedding_layers=False)
