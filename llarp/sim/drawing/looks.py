"""Colours and size of every asset and variant, within what its category allows.

Two categories never share both shape and colour. Within a category only colour and size vary, in known bounds.
"""

import colorsys
import hashlib
from dataclasses import dataclass
from functools import cache

from llarp.errors import UserError
from llarp.scenes.catalog import category, category_of_asset
from llarp.scenes.extension import CATALOG, extension, file
from llarp.sim.drawing.forms import FORMS

SIZE_JITTER = 0.15
"""A variant is up to this share larger or smaller than its form."""
HUE_JITTER = 0.02
"""Share of the colour circle; a red stays a red."""
LIGHT_JITTER = 0.10
"""Share by which lightness and saturation change."""


@dataclass(frozen=True)
class Look:
    """What one variant of one asset looks like."""

    form: str
    """Key of `llarp.sim.drawing.forms.FORMS`: assets and variants of one form differ in colour and size only."""
    colours: tuple[tuple[float, float, float], ...]
    """RGB in [0, 1], one per paint."""
    scale: float
    """Size relative to the form."""


_FORM_OF_ASSET: dict[str, str] = {
    "070-a_colored_wood_blocks": "blocks",
    "070-b_colored_wood_blocks": "blocks",
    "007_tuna_fish_can": "flat_can",
    "010_potted_meat_can": "flat_can",
    "008_pudding_box": "low_box",
    "009_gelatin_box": "low_box",
}

_STEEL, _DARK, _BROWN, _LEAF, _PAPER = "b9c0c8", "2c2c30", "6b4426", "3f9a3a", "f2ecdc"
_PAINTS: dict[str, tuple[str, ...]] = {
    # One row per category, or per asset where assets differ.
    "053_mini_soccer_ball": ("f4f4f4", "1d1d1f"),
    "054_softball": ("d9f046", "c23b3b"),
    "055_baseball": ("f3ead9", "cf2a2a"),
    "056_tennis_ball": ("b8dc2c", "f6fbe0"),
    "057_racquetball": ("2f5fe0", "9db8ff"),
    "clamp": ("f07818", "1f1f22"),
    "hammer": ("8a5a2b", "4c5560"),
    "043_phillips_screwdriver": ("e0332e", _STEEL),
    "044_flat_screwdriver": ("f2b81a", _STEEL),
    "padlock": ("c9962e", "8e98a3"),
    "scissors": ("e4572e", _STEEL, "5c4a44"),
    "036_wood_block": ("c99a5b",),
    "070-a_colored_wood_blocks": ("d93a34", "2f63c8", "efc52e"),
    "070-b_colored_wood_blocks": ("2e9c56", "e9852b", "7d49b8"),
    "drill": ("11a9b5", "26292c"),
    "spatula": ("1e1e20", "3a3d42", "c8c8c8"),
    "knife": ("3b2416", "dfe5ea"),
    "spoon": ("c5cbd2", "8b939c"),
    "plate": ("3f7fd0", "dfe9f7"),
    "sponge": ("f1d33a", "3fae5a"),
    "cleanser": ("f7f7f4", "1f57c8"),
    "plum": ("5b2673", "3a2a1c"),
    "pear": ("a9c13c", _BROWN),
    "peach": ("f5a05c", "ef7f6a", _LEAF),
    "apple": ("cf1f2b", _BROWN, _LEAF),
    "lemon": ("f8e02c", "cfae1c"),
    "002_master_chef_can": ("2256b8", "f0f0f0", "c9ced4"),
    "005_tomato_soup_can": ("c8262c", "f5f1e6", "c9ced4"),
    "007_tuna_fish_can": ("1f8fb8", "f5f1e6", "c9ced4"),
    "010_potted_meat_can": ("1f3f98", "f3c72c", "c9ced4"),
    "003_cracker_box": ("c7291e", "f5d24a"),
    "004_sugar_box": ("f3d21f", "fbfbf4"),
    "008_pudding_box": ("6a3a1c", "f0dfc0"),
    "009_gelatin_box": ("d63a63", "fbf4f4"),
    "banana": ("f5d321", "5f4a18"),
    "strawberry": ("e0203f", "2f8f2f"),
    "073-a_lego_duplo": ("d8261f",),
    "073-b_lego_duplo": ("1f5fd0",),
    "073-c_lego_duplo": ("f4c613",),
    "073-d_lego_duplo": ("1f9d3f",),
    "073-e_lego_duplo": ("f07f1a",),
    "073-f_lego_duplo": ("8bc63a",),
    "073-g_lego_duplo": ("2fa6e0",),
    "rubriks_cube": ("161616", "f4f4f4", "d8261f", "1f5fd0", "f6cf1a", "1f9d3f", "f07f1a"),
    "frl_apartment_book_01": ("8c2f39", _PAPER, "e8c36a"),
    "frl_apartment_book_02": ("27496d", _PAPER, "d8dee6"),
    "frl_apartment_book_03": ("2f6b4f", _PAPER, "e8c36a"),
    "frl_apartment_book_04": ("d98324", _PAPER, "3a2a1c"),
    "frl_apartment_book_05": ("5a4a78", _PAPER, "d8dee6"),
    "frl_apartment_book_06": ("3a3a3c", _PAPER, "d94a3a"),
    "024_bowl": ("c7352e", "7f1f1a"),
    "frl_apartment_bowl_01": ("e9e4d8", "a8a294"),
    "frl_apartment_bowl_02": ("4f7f9f", "27465c"),
    "frl_apartment_bowl_03": ("7fae8f", "3f6a50"),
    "frl_apartment_bowl_06": ("d9b36a", "8a6a2c"),
    "frl_apartment_bowl_07": ("6a6a70", "2c2c30"),
    "mug": ("b5342c", "3a1613"),
    "orange": ("f58a14", "5a7a24"),
    "lid": ("9fc4cf", "1b1b1d"),
    "072-a_toy_airplane": ("e03a2e", "f4d21f", "2c2c30"),
    "072-b_toy_airplane": ("2f6fe0", "f4f4f4", "e03a2e"),
    "072-c_toy_airplane": ("f4c21f", "2f6fe0", "2c2c30"),
    "072-d_toy_airplane": ("3aa655", "f58a14", "2c2c30"),
    "072-e_toy_airplane": ("f0f0f0", "e03a2e", "2f6fe0"),
    "wrench": ("44506a", "1c212c"),
}
_CUPS = (
    "e6553d", "e58a2e", "ecc531", "8fc13e", "34a56f", "2fb2c4", "3f7fd6", "5a57c9", "9a55c0", "d9549b",
    "f1efe9", "55606b", "c7a27c", "8fb7cf",
)  # fmt: skip


def _add_own() -> None:
    """Takes in the looks of a lab's own assets; UserError when a form is unknown or lacks a colour."""
    for asset in (asset for own in extension().category for asset in own.asset):
        if asset.form not in FORMS:
            raise UserError(f"asset {asset.id}: no form is called {asset.form!r}", file(CATALOG), "add a [[form]]")
        paints = 1 + max(solid.paint for solid in FORMS[asset.form])
        if len(asset.colours) < paints:
            raise UserError(f"asset {asset.id}: its form has {paints} paints", file(CATALOG), "name as many colours")
        _FORM_OF_ASSET[asset.id], _PAINTS[asset.id] = asset.form, asset.colours


_add_own()


def _paints(asset: str, kind: str) -> tuple[str, ...]:
    """Hexadecimal colours of an asset."""
    if kind == "cup":
        return _CUPS[category("cup").assets.index(asset)], "2b2622"
    return _PAINTS.get(asset) or _PAINTS[kind]


def _shifted(paint: str, hue: float, light: float, saturation: float) -> tuple[float, float, float]:
    """RGB of a hexadecimal colour after a shift of hue and changes of lightness and saturation."""
    h, lightness, s = colorsys.rgb_to_hls(*(int(paint[at : at + 2], 16) / 255 for at in (0, 2, 4)))
    return colorsys.hls_to_rgb((h + hue) % 1.0, min(lightness * (1 + light), 0.97), min(s * (1 + saturation), 1.0))


@cache
def look(asset: str, variant: int) -> Look:
    """The look of a variant; the same everywhere and always. KeyError when the asset is unknown."""
    kind = category_of_asset(asset)
    digest = hashlib.blake2b(f"{asset}/{variant}".encode(), digest_size=8).digest()
    size, hue, light, saturation = (int.from_bytes(digest[at : at + 2], "big") / 32767.5 - 1 for at in (0, 2, 4, 6))
    return Look(
        form=_FORM_OF_ASSET.get(asset, kind),
        colours=tuple(
            _shifted(paint, HUE_JITTER * hue, LIGHT_JITTER * light, LIGHT_JITTER * saturation)
            for paint in _paints(asset, kind)
        ),
        scale=1 + SIZE_JITTER * size,
    )
