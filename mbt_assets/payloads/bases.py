"""Loading a checkpoint, whatever form it has: plain weights, or a LoRA adapter and the base that it belongs to.

Trainers and the student server load through this module; what is done with a model is no business of it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_flash_attn_2_available

from mbt_assets.payloads.reporting import Reporter
from mbt_assets.payloads.specs import PayloadMistake
from mbt_assets.payloads.train_spec import TrainSpec
from resources.checkpoints import base_of_adapter, is_adapter

MERGED_FOLDER = "merged-base"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SAFE = {"use_safetensors": True, "trust_remote_code": False}
"""Of other formats, loading can run code that somebody put into the file; code beside the weights runs if it is asked
for alone."""
LOADING_ERRORS = (OSError, ValueError, KeyError, RuntimeError)
"""What transformers and peft raise for a checkpoint that cannot be loaded."""


def load_model(
    source: str | Path, *, revision: str | None = None, dtype: torch.dtype | None = None, **options: Any
) -> PreTrainedModel:
    """Loads a model; an adapter is merged into its base, which may be an adapter over another base in turn.

    Args:
        source: folder or Hub id.
        revision: git revision of a Hub id.
        dtype: what to convert the weights to before anything is merged; None keeps the stored one.
        options: for `from_pretrained` of the base.

    Returns:
        The model; its `config.dtype` is the dtype that the base is stored in.

    Raises:
        OSError, ValueError, KeyError, RuntimeError: it cannot be loaded.
    """
    if not is_adapter(Path(source)):
        model: Any = AutoModelForCausalLM.from_pretrained(
            source, revision=revision, dtype="auto", **{**SAFE, **options}
        )
        return model if dtype is None else model.to(dtype)
    base, base_revision = base_of_adapter(Path(source))
    return merge(load_model(base, revision=base_revision, dtype=dtype, **options), source)


def dtype_of(model: PreTrainedModel) -> torch.dtype:
    """The dtype that the weights of a loaded model are stored in."""
    assert isinstance(model.config.dtype, torch.dtype)
    return model.config.dtype


def merge(model: PreTrainedModel, adapter: str | Path) -> PreTrainedModel:
    """The model with the adapter of a folder merged into its weights.

    Raises:
        OSError, ValueError, KeyError, RuntimeError: it cannot be loaded.
    """
    if not (Path(adapter) / ADAPTER_WEIGHTS).is_file():
        # peft would take a pickle instead.
        raise OSError(f"{adapter} holds no {ADAPTER_WEIGHTS}: adapters in other formats have to be converted")
    # Serving plain weights needs no peft.
    from peft import PeftModel

    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    # peft leaves the weights frozen.
    return merged.requires_grad_(True)


def load_tokenizer(source: str | Path, *, revision: str | None = None, **options: Any) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a model; that of the base where an adapter comes without one."""
    if is_adapter(Path(source)) and not (Path(source) / "tokenizer_config.json").is_file():
        base, base_revision = base_of_adapter(Path(source))
        return load_tokenizer(base, revision=base_revision, **options)
    return AutoTokenizer.from_pretrained(source, revision=revision, **{"trust_remote_code": False, **options})


def load_base(spec: TrainSpec, report: Reporter) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, torch.dtype]:
    """Loads the model to start from, in float32 (mixed precision is the trainer's) or in 4 bits, and its tokenizer.

    Returns:
        Model, tokenizer, and the dtype that the base's weights are stored in.

    Raises:
        PayloadMistake: the base is no loadable checkpoint, or its tokenizer has no chat template.
    """
    options: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    attention = _attention(spec, report)
    try:
        tokenizer = load_tokenizer(spec.base, revision=spec.revision, **options)
        if tokenizer.chat_template is None:
            raise PayloadMistake(f"the tokenizer of {spec.base} has no chat template; training needs an instruct model")
        if spec.quantize:
            model = _quantized(spec, attn_implementation=attention, **options)
        else:
            model = load_model(
                spec.base, revision=spec.revision, dtype=torch.float32, attn_implementation=attention, **options
            )
    except PayloadMistake:
        raise
    except LOADING_ERRORS as error:
        raise PayloadMistake(f"cannot load the base {spec.base}: {error}") from error
    if is_adapter(Path(spec.base)):
        report.say(
            f"{spec.base} is an adapter: it was merged into {base_of_adapter(Path(spec.base))[0]} before training"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer, dtype_of(model)


def on_gpu(spec: TrainSpec) -> bool:
    """Whether the training of a spec runs on a GPU: there is one, and neither launcher nor spec says otherwise."""
    told = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes")
    return torch.cuda.is_available() and not told and not spec.trl.get("use_cpu")


def _quantized(spec: TrainSpec, **options: Any) -> PreTrainedModel:
    """The base in 4 bits, on this process's device."""
    # Sharding packs 4-bit weights into tensors of a floating type: it must be that of all other weights.
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_quant_storage=torch.bfloat16,
    )
    state = PartialState()
    source, revision = spec.base, spec.revision
    if is_adapter(Path(spec.base)):
        source, revision = str(_merged_copy(spec, state, **options)), None
    return AutoModelForCausalLM.from_pretrained(
        source,
        revision=revision,
        dtype=torch.bfloat16,
        quantization_config=settings,
        device_map={"": state.device},
        **{**SAFE, **options},
    )


def _merged_copy(spec: TrainSpec, state: PartialState, **options: Any) -> Path:
    """A folder with the merged weights of an adapter: weights are quantised while they are read from files."""
    folder = Path(spec.out_dir) / MERGED_FOLDER
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        merged: Any = load_model(spec.base, revision=spec.revision, dtype=torch.float32, **options)
        merged.to(torch.bfloat16).save_pretrained(folder)
    state.wait_for_everyone()
    return folder


def _attention(spec: TrainSpec, report: Reporter) -> str | None:
    there = on_gpu(spec) and is_flash_attn_2_available()
    if spec.attn_implementation == "auto":
        if not there:
            report.say("FlashAttention 2 needs a GPU and the flash-attn package: using PyTorch's own attention")
        return "flash_attention_2" if there else None
    if spec.attn_implementation == "flash_attention_2" and not there:
        raise PayloadMistake("attn_implementation is flash_attention_2, which needs a GPU and flash-attn; give 'auto'")
    return spec.attn_implementation
