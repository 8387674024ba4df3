"""Rows of results for tests."""

from llarp.evaluate.rows import Row


def make_row(**changes) -> Row:
    row = Row(
        policy="policy", source="generated", split="new_scenes", family="move_to", template="move_to/1",
        episode_id="new_scenes-0", layout="gen_new_0001", instruction="Bring an apple to the sofa", success=False,
        progress=0.5, invalid_actions=1, steps=3, reward=2.45, actions=["nav(sofa)", "pick(apple)", "place(sofa)"],
    )  # fmt: skip
    return Row(**(row | changes))
