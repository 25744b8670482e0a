"""Writes the files of this folder, which tests/checkpoints.rs reads. Needs PyTorch 2."""
from pathlib import Path

import torch

folder = Path(__file__).parent
tensors = {
    "channels_last": torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    "transposed": torch.arange(6.0).view(2, 3).t(),
    "slice": torch.arange(10.0)[2::3],
    "half": torch.tensor([0.5, -2.0]).half(),
    "bfloat16": torch.tensor([0.5, -3.0]).bfloat16(),
    "double": torch.tensor([0.1], dtype=torch.float64),
    "integers": torch.tensor([[-1, 2]]),
    "scalar": torch.tensor(7.0),
    "epoch": 3,
}
torch.save(tensors, folder / "tensors.pt")
nested = {"state_dict": {"w": torch.nn.Parameter(torch.ones(2))}, "optimizer": {"lr": 0.1}, "best": None}
torch.save(nested, folder / "nested_protocol5.pt", pickle_protocol=5)
