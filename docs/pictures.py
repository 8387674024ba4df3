"""Draws the README's picture of what the robot sees: `python docs/pictures.py`, from the project's folder."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from llarp.config import load_params
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.rules import RuleWorld
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
    """Writes docs/images/views.png."""
    params = load_params()
    simulator = EmbeddedSimulator(params.camera)
    episodes = generate("train", 200, params.seed, params.episodes, world=RuleWorld())
    episode = next(e for e in episodes if e.layout.startswith("gen_") and _fits(e.objects) and not e.start)
    simulator.reset(episode)
    category = next(entry.category for entry in episode.objects if entry.receptacle == "sofa")
    rows = -(-len(SHOTS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (EDGE + GAP) - GAP, rows * (EDGE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, (caption, skills) in enumerate(SHOTS.items()):
        for skill in skills.format(category=category).split():
            assert simulator.apply(parse(skill)), skill
        left, top = number % COLUMNS * (EDGE + GAP), number // COLUMNS * (EDGE + CAPTION)
        sheet.paste(Image.fromarray(simulator.render()).resize((EDGE, EDGE), Image.Resampling.NEAREST), (left, top))
        draw.text((left + 2, top + EDGE + 4), caption, "#1f2933", font)
    out = Path("docs/images/views.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)
    print(out)


def _fits(objects) -> bool:
    """Whether every receptacle shown has a few things on it."""
    places = [entry.receptacle for entry in objects]
    return all(places.count(place) >= 3 for place in ("brown_table", "tv_stand", "right_counter", "sofa"))


if __name__ == "__main__":
    main()
