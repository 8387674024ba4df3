"""Draws the README's pictures: `python docs/pictures.py`, in the project's folder after `make run`."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from llarp.config import Params, load_params
from llarp.evaluate import rows as results
from llarp.evaluate.film import record, write_strip
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.rules import RuleWorld
from llarp.tasks.data import store
from llarp.tasks.generator import generate
from llarp.tasks.skills import parse

SHOTS = {
    "in front of the brown table": "nav(brown_table)",
    "the TV stand": "nav(tv_stand)",
    "the right counter": "nav(right_counter)",
    "the sink": "nav(sink)",
    "the fridge, closed": "nav(fridge_handle)",
    "and open": "open_fridge()",
    "an open drawer": "nav(right_drawer_handle) open_cab(right_drawer_handle)",
    "holding what was picked": "nav(sofa) pick({category})",
}
"""Caption -> skills that lead there from the shot before."""
EDGE, GAP, CAPTION, COLUMNS = 336, 10, 30, 4


def main() -> None:
    """Writes docs/images."""
    params = load_params()
    Path("docs/images").mkdir(parents=True, exist_ok=True)
    views(params)
    episode(params)


def episode(params: Params) -> None:
    """docs/images/episode.png: the first unseen episode that the policy solves by looking in four places or more."""
    known = {entry.episode_id: entry for entry in store.read(Path("data/episodes/train_validation"))}
    rows = results.read(Path("data/evaluation/episodes.parquet"))
    row = next(
        row for row in rows
        if row["policy"] == "policy" and row["split"] == "train_validation" and row["success"]
        and row["family"] == "move_to" and row["steps"] >= 7 and not row["invalid_actions"]
    )  # fmt: skip
    film = record(EmbeddedSimulator(params.camera), known[row["episode_id"]], row["actions"], row["success"])
    write_strip(film, "docs/images/episode.png")


def views(params: Params) -> None:
    """docs/images/views.png: what stands before the robot in one apartment."""
    simulator = EmbeddedSimulator(params.camera)
    episodes = generate("train", 200, params.seed, params.episodes, world=RuleWorld())
    shown = next(e for e in episodes if e.layout.startswith("gen_") and _fits(e.objects) and not e.start)
    simulator.reset(shown)
    category = next(entry.category for entry in shown.objects if entry.receptacle == "sofa")
    rows = -(-len(SHOTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (EDGE + GAP) - GAP, rows * (EDGE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (caption, skills) in enumerate(SHOTS.items()):
        for skill in skills.format(category=category).split():
            assert simulator.apply(parse(skill)), skill
        left, top = number % COLUMNS * (EDGE + GAP), number // COLUMNS * (EDGE + CAPTION)
        sheet.paste(Image.fromarray(simulator.render()).resize((EDGE, EDGE), Image.Resampling.NEAREST), (left, top))
        draw.text((left + 2, top + EDGE + 4), caption, "#1f2933", font)
    sheet.save("docs/images/views.png", optimize=True)


def _fits(objects) -> bool:
    """Whether every receptacle shown has a few things on it."""
    places = [entry.receptacle for entry in objects]
    return all(places.count(place) >= 3 for place in ("brown_table", "tv_stand", "right_counter", "sofa"))


if __name__ == "__main__":
    main()
