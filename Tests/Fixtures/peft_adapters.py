"""peft_adapters/CASE/ and peft_adapters.json: adapters that PEFT saved, with their weights, inputs and outputs.

Each case is a small model of named linear layers, wrapped by PEFT; weights are rounded sines. PEFT saves the folder, a second
model is loaded from it, and its layer's own outputs are recorded: y = base(x) + change, minus base(x) where the base is not the
identity. Checked here against y = x + scale * Bt^T A x + b in Float64, with the scale from the LoRA and rsLoRA papers.

What PEFT writes of itself (README.md) is removed, and target_modules, a set, is sorted: the same files every time.
"""

import json
import math
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import peft
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.other import get_pattern_key
from transformers.pytorch_utils import Conv1D

import fixture

D = 7
FOLDER = Path(__file__).resolve().parent / "peft_adapters"
# PEFT takes lora_bias for a tensor that was sharded and not gathered.
warnings.filterwarnings("ignore", message=".*lora_B.bias.*DeepSpeed")
warnings.filterwarnings("ignore", message=".*pattern keys did not match any targeted module")  # as is meant


def numbers(count, seed, amplitude):
    return [amplitude * math.sin(seed + 1.3 * n + 0.11 * n * n) for n in range(count)]


class Layer(torch.nn.Module):
    """A layer of a model: names with dots, as in a transformer."""

    def __init__(self, kind):
        super().__init__()
        self.proj = kind()


class Model(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.personalization = kind()
        self.layers = torch.nn.ModuleList([Layer(kind), Layer(kind)])
        self.wide = torch.nn.Linear(D, D + 2)

    def forward(self, x):
        return self.personalization(x)


def identity():
    layer = torch.nn.Linear(D, D)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(D))
        layer.bias.zero_()
    return layer


def conv1d():
    """A base that stores its weights transposed (GPT-2's): not symmetric, so that a mix-up would show."""
    layer = Conv1D(D, D)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(numbers(D * D, 9.0, 0.5)).reshape(D, D))
        layer.bias.copy_(torch.tensor(numbers(D, 8.0, 0.2)))
    return layer


ALL = ["personalization", "layers.0.proj", "layers.1.proj", "wide"]
# name, module to look at, kind of base, type of the numbers, settings
CASES = [
    ("plain", "personalization", identity, torch.float32, dict(r=3, lora_alpha=6)),
    ("unit_scale", "personalization", identity, torch.float32, dict(r=4, lora_alpha=4, init_lora_weights="gaussian")),
    ("rslora", "personalization", identity, torch.float32, dict(r=3, lora_alpha=5, use_rslora=True)),
    ("lora_bias", "personalization", identity, torch.float32, dict(r=2, lora_alpha=3, lora_bias=True)),
    ("lora_bias_rslora", "personalization", identity, torch.float32,
     dict(r=3, lora_alpha=4, lora_bias=True, use_rslora=True)),
    ("fractional_alpha", "personalization", identity, torch.float32, dict(r=3, lora_alpha=0.7)),
    ("many_first", "layers.0.proj", identity, torch.float32,
     dict(r=2, lora_alpha=2, target_modules=ALL, use_rslora=True,
          rank_pattern={"layers.0.proj": 5, "proj": 3}, alpha_pattern={"proj": 9, r"layers\.0\.proj": 1})),
    ("many_second", "layers.1.proj", identity, torch.float32,
     dict(r=2, lora_alpha=2, target_modules=ALL,
          rank_pattern={"layers.0.proj": 5, "proj": 3}, alpha_pattern={"^proj": 7, r".*\.1.proj": 4, "proj": 9})),
    ("many_other", "personalization", identity, torch.float32,
     dict(r=2, lora_alpha=3, target_modules=ALL, rank_pattern={"ersonalization": 4, "wide": 1}, alpha_pattern={"1.proj": 9})),
    ("conv1d", "personalization", conv1d, torch.float32, dict(r=3, lora_alpha=6, fan_in_fan_out=True)),
    ("half", "personalization", identity, torch.float16, dict(r=3, lora_alpha=6, lora_bias=True)),
    ("bfloat", "personalization", identity, torch.bfloat16, dict(r=3, lora_alpha=6)),
]


def fill(model, dtype):
    seed = 1.0
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                # Rounded to the type that is saved, so that saving loses nothing.
                values = torch.tensor(numbers(parameter.numel(), seed, 0.6)).to(dtype).to(torch.float32)
                parameter.copy_(values.reshape(parameter.shape))
                seed += 0.7


def tidy(folder):
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2) + "\n")


def case(name, module, kind, dtype, settings):
    folder = FOLDER / name
    config = LoraConfig(**{"target_modules": ["personalization"], **settings})
    model = get_peft_model(Model(kind), config)
    fill(model, dtype)
    if dtype != torch.float32:
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.data = parameter.data.to(dtype)
    model.save_pretrained(folder)
    tidy(folder)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # missing or unexpected keys are warnings
        warnings.filterwarnings("ignore", message=".*pattern keys did not match any targeted module")  # as is meant
        loaded = PeftModel.from_pretrained(Model(kind), folder).eval()
    layer = loaded.base_model.model.get_submodule(module)
    base = layer.get_base_layer()
    A = layer.lora_A["default"].weight.detach().float()
    B = layer.lora_B["default"].weight.detach().float()
    bias = layer.lora_B["default"].bias
    scale = float(layer.scaling["default"])
    layer = layer.float()

    rank, alpha = layer.r["default"], layer.lora_alpha["default"]
    stabilized = bool(settings.get("use_rslora"))
    assert scale == alpha / (math.sqrt(rank) if stabilized else rank)
    assert (rank, D) == tuple(A.shape) and (D, rank) == tuple(B.shape)

    X = np.float32(numbers(5 * D, 3.0, 1.0)).reshape(5, D)
    with torch.no_grad():
        outputs = layer(torch.tensor(X)).double().numpy()
        own = base(torch.tensor(X)).double().numpy()
    b = np.zeros(D) if bias is None else scale * bias.detach().double().numpy()
    exact = own + scale * (X.astype(np.float64) @ A.double().numpy().T @ B.double().numpy().T) + b
    assert np.abs(outputs - exact).max() < 1e-6, np.abs(outputs - exact).max()
    y = outputs if kind is identity else X + (outputs - own)
    return {
        "name": name, "module": module, "modules": sorted(ALL if "target_modules" in settings else ["personalization"]),
        "rank": rank, "alpha": alpha, "rankStabilized": stabilized, "scale": scale,
        "A": A.double().tolist(), "Bt": B.t().double().tolist(),
        "loraBias": None if bias is None else bias.detach().double().tolist(),
        "inputs": X.astype(np.float64).tolist(), "outputs": y.tolist(),
    }


# Which keys of rank_pattern and alpha_pattern PEFT applies to which modules.
KEYS = ["proj", "0.proj", r"0\.proj", "^proj", "^layers.0.proj", ".*proj", r".*\.proj", "layers.*proj", "l.yers.0.proj",
        "ayers.0.proj", "o", "a-b", "q_proj", r"q\_proj", "..", ".*", "^.*0.*", "q.*.*j", "^.proj", "proj.*"]
NAMES = ["proj", "layers.0.proj", "layers.10.proj", "layersX0Xproj", "q_proj", "layers.0.q_proj", "a-b", "xa-b", "x.a-b",
         "xproj", "proj.x", "o", "layers.0.o", "j", "qj", ".proj", "x..proj", "", "xy", "pro"]


def applies(key, name):
    # The function returns the name itself where no key fits: a second key that always fits tells the two apart.
    found = get_pattern_key([key, "[^#]*"], name)
    assert (found == key) == bool(re.match(rf"(.*\.)?({key})$", name))
    return found == key


patterns = [{"key": key, "names": [name for name in NAMES if applies(key, name)]} for key in KEYS]

if FOLDER.exists():
    shutil.rmtree(FOLDER)
cases = [case(*settings) for settings in CASES]
fixture.write(__file__, "peft_adapters.json", {
    "source": f"PEFT {peft.__version__}, PyTorch {torch.__version__}, Float32",
    "dimension": D,
    "formulas": {
        "outputs": "x + scale Bt^T A x + scale loraBias, by PEFT; for conv1d x + (layer(x) - base(x))",
        "scale": "alpha / rank, or alpha / sqrt(rank) where rankStabilized",
    },
    "names": NAMES,
    "patterns": patterns,
    "cases": cases,
})
