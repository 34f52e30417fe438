"""What a trainer payload is told: the fields of its spec, and what a spec may not say.

Checks that need no model, file or GPU belong here.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

from mbt_assets.payloads.specs import PayloadMistake

QUANTIZE = ("4bit",)
TOO_LONG = ("drop", "cut")
TRACKERS = ("tensorboard", "wandb")


@dataclasses.dataclass
class TrainSpec:
    """Spec of a trainer payload.

    Attributes:
        base: folder or Hub id of the model to start from; a folder with a LoRA adapter is merged into its own base
            first.
        train: Parquet file with the training rows.
        out_dir: gets the final weights and tokenizer; steps in between are kept under `trainer/`.
        trl: fields of TRL's configuration class, as they are.
        peft: fields of peft's LoraConfig; adapters are merged into the weights at the end. None trains all weights.
        adapter: leave the LoRA adapter itself, unmerged; it names `base` as what it belongs to.
        quantize: `4bit` trains LoRA over a base held in 4 bits (NF4, double quantisation, bfloat16 arithmetic): QLoRA.
        revision: git revision of a Hub base.
        attn_implementation: a transformers name, or `auto`: FlashAttention 2 on a GPU where installed.
        use_liger: `auto` or false; Liger needs a GPU and its package.
        too_long: what becomes of rows with more than TRL's `max_length` tokens: `drop` leaves them out, `cut` cuts
            their end off.
        report_to: also log to these: `tensorboard`, `wandb`.
        log_dir: folder for what TensorBoard and Weights & Biases write; `logs` in `out_dir` when None.
        threads: CPU threads of torch.
        trust_remote_code: run Python that comes with the checkpoint.

    Raises:
        PayloadMistake: a field with a value that it does not take, or fields that do not go together.
    """

    base: str
    train: str
    out_dir: str
    seed: int = 42
    trl: dict[str, Any] = dataclasses.field(default_factory=dict)
    peft: dict[str, Any] | None = None
    adapter: bool = False
    quantize: str | None = None
    revision: str | None = None
    attn_implementation: str = "auto"
    use_liger: str | bool = "auto"
    too_long: str = "drop"
    report_to: list[str] = dataclasses.field(default_factory=list)
    log_dir: str | None = None
    threads: int = 1
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        """Refuses values that are none of the known ones."""
        _one_of("too_long", self.too_long, TOO_LONG)
        if self.quantize is not None:
            _one_of("quantize", self.quantize, QUANTIZE)
        if not isinstance(self.report_to, list):
            raise PayloadMistake(f"spec.report_to is {self.report_to!r}; give a list")
        for name in self.report_to:
            _one_of("report_to", name, TRACKERS)
        if not isinstance(self.adapter, bool):
            raise PayloadMistake(f"spec.adapter is {self.adapter!r}; give true or false")
        for name, given in (("adapter", self.adapter), ("quantize", self.quantize)):
            if given and self.peft is None:
                raise PayloadMistake(f"spec.{name} is for LoRA: give spec.peft too, {{}} takes peft's own settings")


def need_packages(spec: TrainSpec) -> None:
    """Checks that the packages that the spec asks for are installed.

    Raises:
        PayloadMistake: one is missing; the message says how to install it.
    """
    for name in spec.report_to:
        if importlib.util.find_spec(name) is None:
            raise PayloadMistake(f"spec.report_to names {name}, which is not installed: pip install {name}")
    if spec.quantize and importlib.util.find_spec("bitsandbytes") is None:
        raise PayloadMistake("spec.quantize needs bitsandbytes, which is not installed: pip install bitsandbytes")


def _one_of(field: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise PayloadMistake(f"spec.{field} is {value!r}; it takes {' or '.join(known)}")
