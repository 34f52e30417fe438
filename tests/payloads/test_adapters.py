"""LoRA: the adapter by itself, an adapter as the base of a training, over 4-bit weights, and served."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch
from safetensors.torch import load_file
from trainings import LORA, QUICK, Listener, differing, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from mbt_assets.payloads.bases import load_model, load_tokenizer
from mbt_assets.payloads.sft import fine_tune
from mbt_assets.payloads.specs import PayloadMistake
from mbt_assets.payloads.student_batching import Checkpoints

QUANTISED = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")


@pytest.fixture(scope="module")
def adapter(blank_student, rows, tmp_path_factory):
    """A folder with an adapter, and one with the same training merged."""
    from mbt_assets.payloads.train_spec import TrainSpec

    root = tmp_path_factory.mktemp("adapters") / "tiny"
    for name, alone in (("adapter", True), ("merged", False)):
        out_dir = str(root / name)
        spec = TrainSpec(str(blank_student), str(rows), out_dir, trl=QUICK, peft=LORA, adapter=alone)
        fine_tune(spec, Listener())
    return root / "adapter"


def test_an_adapter_is_left_alone_and_names_its_base(adapter, blank_student):
    names = {path.name for path in adapter.iterdir()}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert not names & {"model.safetensors", "config.json", "trainer", "training_args.bin"}
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(blank_student)
    assert all("lora_" in name and "q_proj" in name for name in load_file(adapter / "adapter_model.safetensors"))
    assert AutoTokenizer.from_pretrained(adapter).chat_template


def test_merged_by_others_it_is_the_merged_training(adapter, blank_student):
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(blank_student)
    theirs = PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
    merged = weights(adapter.parent / "merged")
    assert all(torch.allclose(merged[name], theirs[name], atol=1e-6) for name in merged)


def test_training_goes_on_from_an_adapter_as_from_its_merged_weights(spec, adapter, tmp_path):
    listener = Listener()
    fine_tune(spec(base=str(adapter)), listener)
    fine_tune(spec(base=str(adapter.parent / "merged"), out_dir=str(tmp_path / "plain")), Listener())
    assert listener.heard("is an adapter: it was merged into")
    assert not differing(spec().out_dir, tmp_path / "plain")


def test_an_adapter_over_an_adapter_is_loaded_through_both(spec, adapter):
    fine_tune(spec(base=str(adapter), peft=LORA, adapter=True, seed=7), Listener())
    second = Path(spec().out_dir)
    assert json.loads((second / "adapter_config.json").read_text())["base_model_name_or_path"] == str(adapter)
    first, both = load_model(adapter).state_dict(), load_model(second).state_dict()
    assert any(not first[name].equal(both[name]) for name in first)


def test_an_adapter_whose_base_is_gone_is_told(spec, adapter, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in adapter.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    settings = json.loads((broken / "adapter_config.json").read_text())
    for base, message in (
        ("/nowhere", "/nowhere"),
        (None, "does not name its base model: set base_model_name_or_path"),
    ):
        (broken / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": base}))
        with pytest.raises(PayloadMistake, match=f"cannot load the base {broken}: .*{message}"):
            fine_tune(spec(base=str(broken)), Listener())


def test_the_student_server_serves_an_adapter(adapter):
    checkpoints = Checkpoints(adapter.parent.parent)
    assert checkpoints.names() == ["tiny/adapter", "tiny/merged"]
    tokens = torch.arange(20)[None]
    ours, plain = (checkpoints.get(f"tiny/{name}") for name in ("adapter", "merged"))
    assert torch.allclose(ours.model(tokens).logits, plain.model(tokens).logits, atol=1e-5)
    assert ours.tokenizer.get_vocab() == plain.tokenizer.get_vocab()
    assert ours.context == plain.context


def test_over_http_an_adapter_says_what_its_merged_weights_say(adapter, asked):
    root = adapter.parent.parent
    program = [sys.executable, "-m", "mbt_assets.payloads.serve_student", "--root", str(root), "--exit-with-parent"]
    quiet = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=quiet) as server:
        address = server.stdout.readline().split()[1]
        said = []
        for name in ("adapter", "merged"):
            body = {"model": f"tiny/{name}", "messages": asked[0][1], "max_tokens": 12, "temperature": 0}
            reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()
            said.append(reply["choices"][0]["message"]["content"])
        server.terminate()
    assert said[0] == said[1] != ""


def test_an_adapter_without_a_tokenizer_has_that_of_its_base(adapter, blank_student, tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((adapter / name).read_bytes())
    plain = AutoTokenizer.from_pretrained(blank_student)
    assert load_tokenizer(tmp_path).get_vocab() == plain.get_vocab()


@QUANTISED
@pytest.mark.parametrize("base", ["blank", "adapter"])
def test_over_4_bit_weights_the_adapter_is_merged_into_unquantised_ones(spec, adapter, blank_student, tmp_path, base):
    start = {"base": str(adapter if base == "adapter" else blank_student)}
    listener = Listener()
    result = fine_tune(spec(**start, quantize="4bit", peft=LORA), listener)
    out = Path(spec().out_dir)
    assert result["trained_parameters"] < result["parameters"]
    assert result["final_loss"] < 6.5
    plain = load_model(start["base"]).state_dict()
    made = weights(out)
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    # Had the merge gone into 4-bit weights, every linear layer would have moved.
    changed = [name for name in made if not torch.allclose(made[name], plain[name], atol=1e-6)]
    assert changed and all("q_proj" in name for name in changed)
    assert not (out / "merged-base").exists()


@QUANTISED
def test_over_4_bit_weights_the_adapter_can_be_left_alone(spec, adapter):
    fine_tune(spec(base=str(adapter), quantize="4bit", peft=LORA, adapter=True), Listener())
    settings = json.loads((Path(spec().out_dir) / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(adapter)
