"""Episodes as PDDL, and an independent planner that solves them."""
