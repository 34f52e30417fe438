"""Tokens per second of the SFT payload next to plain TRL: the same model, rows and settings, in turn, in one run.

The payload runs as the platform runs it, as a process with a spec. Plain TRL is `bare` below: an SFTTrainer on the same
rows and nothing else, in a process of its own. Both are measured from the first step's beginning to the last one's end,
saving in between included, set-up not; which of them goes first changes from round to round. Both must have trained on
as many tokens and end with the same loss.

    python bench/training.py              a small random Qwen3 on the CPU, one thread
    python bench/training.py --gpu        a random model of Qwen3-0.6B's shape in bfloat16, with peak memory
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import torch
from datasets import Dataset
from transformers import PrinterCallback, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer

from mbt_assets import prompts
from mbt_assets.benchmarks import trails
from mbt_assets.payloads.progress import peak_memory
from mbt_assets.payloads.sft import DEFAULTS, GPU_DEFAULTS
from mbt_assets.payloads.student_tokenizer import build_tokenizer
from mbt_assets.payloads.train_spec import TrainSpec

SMALL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "head_dim": 64}
QWEN3_06B = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
QWEN3_06B |= {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936}
CPU_TRL = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_length": 1024}
GPU_TRL = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 16, "max_length": 32_768}
CPU_TRACE, GPU_TRACE = 1, 60  # how often a row's trace is repeated
TARGET = 0.95


def make_model(folder: Path, shape: dict[str, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    words = {"vocab_size": len(tokenizer), "max_position_embeddings": 40_960, "tie_word_embeddings": True}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    Qwen3ForCausalLM(Qwen3Config(**{**words, **ends, **shape})).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_rows(file: Path, count: int, trace: int) -> None:
    rows = [
        {
            "prompt": prompts.render("answer", **question),
            "completion": f"<think>\n{'So it is city2. ' * 20 * trace}Done.\n</think>\n\n<answer>city2</answer>",
        }
        for question in trails.generate("train", count, seed=3)
    ]
    pl.DataFrame(rows).write_parquet(file)


class Clock(TrainerCallback):
    """Seconds from the first step's beginning to the last one's end, and the tokens and loss of the last log."""

    seconds, tokens, loss = 0.0, 0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts."""
        self.began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Stops, until the next log."""
        if "loss" in (logs or {}):
            self.seconds = time.monotonic() - self.began
            self.tokens, self.loss = int(logs["num_tokens"]), float(logs["loss"])


def bare(spec: TrainSpec, attention: str, liger: bool) -> None:
    """Plain TRL on the same rows; prints its figures as JSON."""
    torch.set_num_threads(spec.threads)
    gpu = torch.cuda.is_available() and not spec.trl.get("use_cpu")
    machine = GPU_DEFAULTS if gpu else {"use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    values = {**DEFAULTS, **machine, **spec.trl, "use_liger_kernel": liger, "seed": spec.seed}
    values |= {"output_dir": spec.out_dir, "report_to": "none", "disable_tqdm": True}
    values |= {"logging_steps": 0.05, "save_total_limit": 1}  # the payload's own
    values["model_init_kwargs"] = {"dtype": "float32", "attn_implementation": attention}
    rows = pl.read_parquet(spec.train).with_columns(
        completion=pl.concat_list(pl.struct(role=pl.lit("assistant"), content="completion"))
    )
    clock = Clock()
    data = Dataset(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
    trainer = SFTTrainer(model=spec.base, args=SFTConfig(**values), train_dataset=data, callbacks=[clock])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    figures = {"tokens": clock.tokens, "final_loss": clock.loss, "peak_memory_mb": peak_memory()}
    print(json.dumps({**figures, "tokens_per_second": clock.tokens / clock.seconds}))


def run(words: list[str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def payload(spec: TrainSpec, file: Path) -> dict[str, Any]:
    file.write_text(json.dumps(asdict(spec)))
    run(["-m", "mbt_assets.payloads.sft", "--spec", str(file)])
    result: dict[str, Any] = json.loads((Path(spec.out_dir) / "result.json").read_text())
    return result


def plain(spec: TrainSpec, file: Path, ours: dict[str, Any]) -> dict[str, Any]:
    file.write_text(json.dumps(asdict(spec)))
    said = run([__file__, "--bare", str(file), ours["attention"], str(int(ours["liger"]))])
    result: dict[str, Any] = json.loads(said.splitlines()[-1])
    return result


def measure(folder: Path, gpu: bool, steps: int, rounds: int) -> None:
    trl = {**(GPU_TRL if gpu else {**CPU_TRL, "use_cpu": True}), "max_steps": steps}
    make_model(folder / "base", QWEN3_06B if gpu else SMALL, torch.bfloat16 if gpu else torch.float32)
    batch = trl["per_device_train_batch_size"] * trl["gradient_accumulation_steps"]
    make_rows(folder / "rows.parquet", batch * steps, GPU_TRACE if gpu else CPU_TRACE)

    def spec(name: str) -> TrainSpec:
        return TrainSpec(str(folder / "base"), str(folder / "rows.parquet"), str(folder / name), trl=trl)

    # Warms the page cache and the compiled kernels; says which attention and layers the payload takes.
    kinds = payload(spec("warm-payload"), folder / "warm.json")
    plain(spec("warm-plain"), folder / "warm.json", kinds)
    print(f"{kinds['parameters']:,} parameters, {kinds['tokens']:,} tokens in {steps} steps of {batch} rows")
    print(f"attention {kinds['attention']}, liger {kinds['liger']}")
    ratios = []
    for number in range(rounds):
        both: dict[str, dict[str, Any]] = {}
        for name in ("payload", "plain") if number % 2 == 0 else ("plain", "payload"):
            at, file = spec(f"{name}-{number}"), folder / f"{name}.json"
            both[name] = payload(at, file) if name == "payload" else plain(at, file, kinds)
        ours, theirs = both["payload"], both["plain"]
        check(ours, theirs)
        ratios.append(ours["tokens_per_second"] / theirs["tokens_per_second"])
        shown = "  ".join(
            f"{name} {one['tokens_per_second']:8.0f} tokens/s {one['peak_memory_mb']:6.0f} MB"
            for name, one in sorted(both.items())
        )
        print(f"round {number + 1}: {shown}  ratio {ratios[-1]:.3f}", flush=True)
    middle = statistics.median(ratios)
    print(f"payload / plain TRL: {middle:.3f} ({min(ratios):.3f} to {max(ratios):.3f}), target {TARGET}")


def check(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Both must have done the same work."""
    losses = ours["final_loss"], theirs["final_loss"]
    if ours["tokens"] != theirs["tokens"] or abs(losses[0] - losses[1]) > 0.01 * losses[1]:
        raise SystemExit(f"not the same training: {ours['tokens']} and {theirs['tokens']} tokens, losses {losses}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="a model of Qwen3-0.6B's shape on the GPU")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare", nargs=3, metavar=("SPEC", "ATTENTION", "LIGER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        bare(TrainSpec(**json.loads(Path(args.bare[0]).read_text())), args.bare[1], args.bare[2] == "1")
        return
    if args.gpu and not torch.cuda.is_available():
        raise SystemExit("--gpu needs an NVIDIA GPU and a CUDA build of torch")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), args.gpu, args.steps, args.rounds)


if __name__ == "__main__":
    main()
