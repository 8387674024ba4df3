"""Where a policy can act: Language Rearrangement, BabyAI and Atari behind one seam, `base.Environment`."""
