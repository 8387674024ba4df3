"""What the processes of a training say to each other: sums, small JSON values, bytes. Nothing is ever pickled."""

from __future__ import annotations

import json
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast


class Ranks:
    """The processes that train together; each of them has one of these. Every method is called by all of them."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.rank, self.count = accelerator.process_index, accelerator.num_processes
        self.device = accelerator.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and tells how it goes."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, the same on each."""
        return tensor if self.count == 1 else self.accelerator.reduce(tensor, "sum")

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all ranks, in their order."""
        if self.count == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self.device)
        sizes = self.accelerator.gather(torch.tensor([len(data)], device=self.device)).tolist()
        padded = torch.zeros(1, max(sizes), dtype=torch.uint8, device=self.device)
        padded[0, : len(data)] = data
        rows = self.accelerator.gather(padded).cpu()
        return [json.loads(bytes(row[:size].numpy())) for row, size in zip(rows, sizes, strict=True)]

    def from_first(self, data: bytes | None) -> bytes:
        """The bytes that the first rank gave; the others give None."""
        if self.count == 1:
            assert data is not None
            return data
        size = broadcast(torch.tensor([len(data) if data is not None else 0], device=self.device))
        content = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if data:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        return bytes(broadcast(content).cpu().numpy()) if len(content) else b""

    def wait(self) -> None:
        """Until all have come here."""
        self.accelerator.wait_for_everyone()
