"""Reads an adapter that Attune wrote, with PEFT, and applies it.

    python check_peft.py FOLDER MODULE INPUTS.npy

Wraps an identity layer of the name MODULE, loads the adapter of FOLDER onto it, and prints one JSON object: {"rank", "scale",
"A" [rank][d], "B" [d][rank], "bias" [d] or null, "outputs" [n][d]}, the numbers as PEFT holds them. Missing or unexpected keys,
which are warnings of PEFT, are errors here.
"""

import json
import sys
import warnings

import numpy as np
import torch
from peft import PeftModel

folder, module, inputs = sys.argv[1:]
X = torch.tensor(np.load(inputs, allow_pickle=False))
d = X.shape[1]

model = torch.nn.Module()
parent = model
*path, last = module.split(".")
for name in path:
    parent.add_module(name, torch.nn.Module())
    parent = parent.get_submodule(name)
layer = torch.nn.Linear(d, d)
with torch.no_grad():
    layer.weight.copy_(torch.eye(d))
    layer.bias.zero_()
parent.add_module(last, layer)

warnings.simplefilter("error")
loaded = PeftModel.from_pretrained(model, folder).eval()
layer = loaded.base_model.model.get_submodule(module)
B = layer.lora_B["default"]
with torch.no_grad():
    outputs = layer(X)
    result = {
        "rank": layer.r["default"], "scale": layer.scaling["default"],
        "A": layer.lora_A["default"].weight.double().tolist(), "B": B.weight.double().tolist(),
        "bias": None if B.bias is None else B.bias.double().tolist(), "outputs": outputs.double().tolist(),
    }
print(json.dumps(result, allow_nan=False))
