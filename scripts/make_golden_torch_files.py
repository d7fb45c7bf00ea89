"""Writes tests/golden/torch_*.pth: small files by torch itself, which tests/golden_torch_files.py describes.

It needs torch and NumPy. Run it when the description changes; name a FOLDER to try another version of torch:

    python scripts/make_golden_torch_files.py [FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
import golden_torch_files as golden  # noqa: E402

LARGEST_FILE = 8_000


def formats() -> dict[str, torch.Tensor]:
    """Makes a tensor of each number format."""
    return {name: torch.tensor(golden.NUMBERS).to(getattr(torch, name)) for name in golden.FORMATS}


def views() -> dict[str, torch.Tensor]:
    """Makes views of one tensor, a parameter and an expanded tensor."""
    base = torch.tensor(golden.BASE)
    made = {name: eval(words, {"base": base}) for name, words in golden.VIEWS.items()}
    return OrderedDict(made, parameter=torch.nn.Parameter(base), repeated=torch.full((1,), 3.0).expand(5))


def checkpoint() -> dict[str, Any]:
    """Makes a checkpoint like that of torchvision's training script, with some additional entries."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[16, 22])
    model(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    arguments = argparse.Namespace(lr=0.02, device=torch.device("cpu"), size=torch.Size([3, 2]), dtype=torch.bfloat16)
    return {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict(),
        "args": arguments, "epoch": 3, "best": np.float64(0.5), "seen": {1, 2}, "losses": np.ones(3), "note": None,
    }  # fmt: skip


def main() -> None:
    """Writes all files and prints their sizes."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TESTS / "golden"
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name, content, zipped in (
        ("formats", formats(), True),
        ("views", views(), True),
        ("legacy", views(), False),
        ("checkpoint", checkpoint(), True),
    ):
        path = folder / f"torch_{name}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        print(f"{path.name}: {path.stat().st_size} bytes")
        if path.stat().st_size > LARGEST_FILE:
            raise SystemExit(f"{path}: more than {LARGEST_FILE} bytes; hold less")
    expected = {name: value.numpy() for name, value in torch.load(path, weights_only=False)["model"].items()}
    np.savez(folder / "torch_checkpoint.npz", **expected)


if __name__ == "__main__":
    main()
