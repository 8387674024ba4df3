"""How like training the instructions of a split are, as a sentence encoder that saw neither sees it.

The encoder is the embedded all-MiniLM-L6-v2 with the mean of its last layer, as it was trained to be used
(arXiv 1908.10084); figures are rounded so far that they do not depend on the number of processes.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from llarp.tasks.data.dataset import Similarity

MOST_TRAINING = 20_000
"""Distinct training instructions that are compared with, chosen by the seed where there are more."""
MOST_ASKED = 2_000
"""Distinct instructions of a split that are compared, chosen likewise."""
LEAST_SHOWN = 3
"""Least similar instructions in the report, per split."""
JOB_SENTENCES = 1000
_BATCH = 64
_DECIMALS = 2

Embed = Callable[[Sequence[Sequence[str]]], Iterable[np.ndarray]]


def compare(
    training: Iterable[str], splits: Mapping[str, Iterable[str]], seed: int, embed: Embed
) -> dict[str, Similarity]:
    """The similarity of every split's instructions to training's.

    Args:
        training: instructions; repeated ones count once.
        splits: split to its instructions.
        seed: chooses instructions when there are more than MOST_TRAINING or MOST_ASKED.
        embed: maps `embeddings` over lists of sentences, in order.

    """
    known = _some(training, MOST_TRAINING, seed)
    asked = {split: _some(texts, MOST_ASKED, seed) for split, texts in splits.items()}
    # Sentences of one length share a batch without padding.
    texts = sorted({*known, *(text for some in asked.values() for text in some)}, key=lambda text: (len(text), text))
    jobs = [texts[start : start + JOB_SENTENCES] for start in range(0, len(texts), JOB_SENTENCES)]
    rows = {text: row for row, text in enumerate(texts)}
    vectors_ND = np.concatenate(list(embed(jobs)))
    known_KD = vectors_ND[[rows[text] for text in known]]
    return {
        split: _similarity(some, known, vectors_ND[[rows[text] for text in some]] @ known_KD.T)
        for split, some in asked.items()
    }


def _some(texts: Iterable[str], most: int, seed: int) -> list[str]:
    distinct = sorted(set(texts))
    return distinct if len(distinct) <= most else sorted(random.Random(seed).sample(distinct, most))


def embeddings(texts: Sequence[str]) -> np.ndarray:
    """float32[N, D] unit vectors of N sentences, computed by one thread."""
    import torch

    tokenizer, model = _encoder()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = []
    try:
        for start in range(0, len(texts), _BATCH):
            batch = tokenizer(list(texts[start : start + _BATCH]), padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                hidden_BLD = model(**batch).last_hidden_state
            real_BL1 = batch["attention_mask"].unsqueeze(-1)
            mean_BD = (hidden_BLD * real_BL1).sum(1) / real_BL1.sum(1)
            parts.append(torch.nn.functional.normalize(mean_BD, dim=-1).numpy())
    finally:
        torch.set_num_threads(threads)
    return np.concatenate(parts)


@cache
def _encoder() -> tuple[Any, Any]:
    from llarp.policy.minilm import pretrained

    model, tokenizer = pretrained()
    return tokenizer, model.eval()


def _similarity(texts: Sequence[str], known: Sequence[str], cosines_NK: np.ndarray) -> Similarity:
    nearest_N = cosines_NK.argmax(1)
    best_N = cosines_NK.max(1).astype(np.float64)
    low, median, high = (round(float(value), _DECIMALS) for value in np.percentile(best_N, (5, 50, 95)))
    entries = [
        (round(float(best), _DECIMALS), text, known[near])
        for best, text, near in zip(best_N, texts, nearest_N, strict=True)
    ]
    mean = round(float(best_N.mean()), _DECIMALS)
    return Similarity(mean, median, low, high, tuple(sorted(entries)[:LEAST_SHOWN]), len(texts), len(known))
