"""How often the gate's rule for splits refuses: candidates as good as the champion, and candidates with one bad split.

12 splits of 100 episodes. `discordant` is the share of episodes that only one of two equally good policies solves. One
split may really lose `drop`; the others lose nothing. The limit is 5 points (promote.max_drop).
"""

from functools import lru_cache

import numpy as np

from llarp.evaluate.compare import holm, mcnemar

SPLITS, EPISODES, MAX_DROP, TRIALS = 12, 100, 0.05, 3000
RULES = {"every larger drop": 1.0, "Holm, alpha 0.05": 0.05, "Holm, alpha 0.1": 0.1, "Holm, alpha 0.2": 0.2}


def main() -> None:
    """Prints the share of candidates refused."""
    worse = lru_cache(None)(lambda won, lost: mcnemar(won, lost)[1])
    rng = np.random.default_rng(0)
    print(f"{'discordant':>10}{'drop':>7}  " + "".join(f"{name:>19}" for name in (*RULES, "each at 0.05")))
    for discordant in (0.1, 0.2, 0.3):
        for drop in (0.0, 0.1, 0.15, 0.2):
            refused = dict.fromkeys((*RULES, "each at 0.05"), 0)
            for _ in range(TRIALS):
                drops = [drop] + [0.0] * (SPLITS - 1)
                counts = [
                    rng.multinomial(EPISODES, [(share - d) / 2, (share + d) / 2, 1 - share])[:2]
                    for d, share in ((d, max(discordant, d)) for d in drops)
                ]
                ps = [worse(int(won), int(lost)) for won, lost in counts]
                large = [(won - lost) / EPISODES < -MAX_DROP - 1e-9 for won, lost in counts]
                for name, alpha in RULES.items():
                    refused[name] += any(a and p <= alpha for a, p in zip(large, holm(ps), strict=True))
                refused["each at 0.05"] += any(a and p <= 0.05 for a, p in zip(large, ps, strict=True))
            shares = "".join(f"{count / TRIALS:>18.1%} " for count in refused.values())
            print(f"{discordant:>10.0%}{drop:>7.0%}  {shares}")


if __name__ == "__main__":
    main()
