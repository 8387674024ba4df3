"""In which numbers a frozen model is loaded: `policy.dtype` and `policy.quantize`."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch

from llarp.config import PolicyConfig
from llarp.errors import UserError

QUANTISER = "bitsandbytes"


def loading(config: PolicyConfig) -> dict[str, Any]:
    """Options of `from_pretrained`; UserError when this machine cannot quantise."""
    if config.quantize == "none":
        return {"dtype": config.dtype}
    lacking = [] if torch.cuda.is_available() else ["a GPU"]
    lacking += [] if importlib.util.find_spec(QUANTISER) else [f"the package {QUANTISER}"]
    if lacking:
        raise UserError(
            f"{config.quantize} needs {' and '.join(lacking)}",
            "policy.quantize",
            "pip install 'llarp[quantized]' on a machine with a GPU, or set it to none",
        )
    from transformers import BitsAndBytesConfig

    logging.getLogger(QUANTISER).setLevel(logging.ERROR)  # it tells of every product in 8 bits that float16 is used

    # What the products are computed in. The frozen weights' own dtype says nothing about that once they are quantised.
    dtype = torch.bfloat16 if config.dtype == "auto" else getattr(torch, config.dtype)
    chosen: Any = BitsAndBytesConfig(
        load_in_8bit=config.quantize == "8bit",
        load_in_4bit=config.quantize == "4bit",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
    )
    # Every rank has made its own GPU the current one before it loads anything.
    return {"dtype": dtype, "quantization_config": chosen, "device_map": {"": torch.cuda.current_device()}}
