"""What processes that work together say to each other: sums, small JSON values, bytes. Nothing is ever pickled."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from llarp.errors import UserError
from llarp.launch import Together

T = TypeVar("T")

_PRECISION = {"none": "no", "bf16": "bf16"}
"""In accelerate's words."""


class Ranks:
    """The processes that work together; each of them has one of these. Every method is called by all of them."""

    def __init__(self, accelerator: Accelerator, machines: int = 1) -> None:
        self.accelerator, self.machines = accelerator, machines
        self.rank, self.count = accelerator.process_index, accelerator.num_processes
        self.device = accelerator.device

    @classmethod
    def meet(cls, config: Together, section: str = "train") -> Ranks:
        """Waits for all of them; UserError when there are not as many as the parameters say."""
        accelerator = Accelerator(mixed_precision=_PRECISION[config.mixed_precision])
        if accelerator.num_processes != config.processes:
            raise UserError(
                f"{config.processes} processes wanted, {accelerator.num_processes} running",
                f"{section}.processes",
                "start it with the command of llarp.launch",
            )
        if accelerator.device.type == "cpu":
            torch.set_num_threads(1)
        return cls(accelerator, config.machines)

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and tells how it goes."""
        return self.rank == 0

    def machine(self, rank: int) -> int:
        """Number of the machine that a rank is on."""
        return rank * self.machines // self.count

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, the same on each."""
        return tensor if self.count == 1 else self.accelerator.reduce(tensor, "sum")

    def gather(self, value: Any) -> list[Any]:
        """The JSON values of all ranks, in their order."""
        if self.count == 1:
            return [value]
        return [json.loads(data) for data in self.gather_bytes(json.dumps(value).encode())]

    def gather_bytes(self, data: bytes) -> list[bytes]:
        """The bytes of all ranks, in their order."""
        if self.count == 1:
            return [data]
        sizes = self.accelerator.gather(torch.tensor([len(data)], device=self.device)).tolist()
        padded = torch.zeros(1, max(*sizes, 1), dtype=torch.uint8, device=self.device)
        if data:
            padded[0, : len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        rows = self.accelerator.gather(padded).cpu()
        return [row[:size].numpy().tobytes() for row, size in zip(rows, sizes, strict=True)]

    def alike(self, work: Callable[[], T]) -> T:
        """What `work` returns here, once it has ended well on every rank.

        Without this the others would wait for a rank that has given up.

        Raises:
            UserError: it did so on some rank; every rank then raises what the first of those did.

        """
        result, problem = None, None
        try:
            result = work()
        except UserError as error:
            problem = error
        where = None if problem is None or problem.where is None else str(problem.where)
        told = self.gather(problem and [problem.what, where, problem.do])
        for rank, said in enumerate(told):
            if said is not None:
                what, where, do = said
                if self.machines > 1:
                    where = f"machine {self.machine(rank)}{'' if where is None else f', {where}'}"
                raise UserError(what, where, do) from problem
        return result  # type: ignore[return-value]

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
