"""Every name of Language Rearrangement: receptacles, handles, object categories and their assets.

Identifiers are in snake_case and go into files, goals and skills; `words` is how an instruction says it. The names
and the assignment of assets to categories are facts of the public release (arXiv 2310.17722, appendix). What a lab
adds (`llarp.scenes.extension`) comes last of its kind.
"""

from dataclasses import dataclass
from functools import cache

from llarp.scenes.extension import extension, without_clash


@dataclass(frozen=True)
class Receptacle:
    """A place where objects can be put."""

    id: str
    words: str
    release: str
    """Its handle in the released files."""
    is_open: bool
    """True for the seven receptacles where objects start and end."""
    handle: str | None = None
    """The handle that must be open before anything inside can be reached; None when nothing closes it."""


@dataclass(frozen=True)
class Handle:
    """A point to stand before so as to open or close a drawer or the fridge."""

    id: str
    words: str
    release: str
    receptacle: str | None
    """The receptacle behind it; None for the two drawers that hold nothing."""


@dataclass(frozen=True)
class Category:
    """A kind of object, and the argument of a pick skill."""

    id: str
    words: str
    release: str
    held_out: bool
    """True for the five categories of the split `novel objects`."""
    assets: tuple[str, ...]
    """YCB and ReplicaCAD models of this category."""


RECEPTACLES: tuple[Receptacle, ...] = (
    Receptacle("sofa", "sofa", "receptacle_aabb_Sofa_frl_apartment_sofa", True),
    Receptacle("black_table", "black table", "receptacle_aabb_Tbl1_Top1_frl_apartment_table_01", True),
    Receptacle("brown_table", "brown table", "receptacle_aabb_Tbl2_Top1_frl_apartment_table_02", True),
    Receptacle("tv_stand", "TV stand", "receptacle_aabb_TvStnd1_Top1_frl_apartment_tvstand", True),
    Receptacle("left_counter", "left counter", "receptacle_aabb_counter_left_kitchen_counter", True),
    Receptacle("right_counter", "right counter", "receptacle_aabb_counter_right_kitchen_counter", True),
    Receptacle("sink", "sink", "receptacle_aabb_sink_kitchen_counter", True),
    Receptacle("chair", "chair", "receptacle_aabb_Chr1_Top1_frl_apartment_chair_01", False),
    Receptacle("fridge", "fridge", "receptacle_aabb_middle_topfrl_apartment_refrigerator", False, "fridge_handle"),
    Receptacle(
        "left_drawer", "left drawer", "receptacle_aabb_drawer_left_top_frl_apartment_kitchen_counter",
        False, "left_drawer_handle",
    ),
    Receptacle(
        "right_drawer", "right drawer", "receptacle_aabb_drawer_right_top_frl_apartment_kitchen_counter",
        False, "right_drawer_handle",
    ),
    *(Receptacle(own.id, own.words, own.id, own.objects_start_here) for own in extension().receptacle),
)  # fmt: skip

HANDLES: tuple[Handle, ...] = (
    Handle("left_drawer_handle", "left drawer", "cab_push_point_7", "left_drawer"),
    Handle("middle_drawer_handle", "middle drawer", "cab_push_point_6", None),
    Handle("right_drawer_handle", "right drawer", "cab_push_point_5", "right_drawer"),
    Handle("bottom_drawer_handle", "bottom drawer", "cab_push_point_4", None),
    Handle("fridge_handle", "fridge", "fridge_push_point", "fridge"),
)


def _category(id: str, *assets: str, words: str = "", release: str = "", held_out: bool = False) -> Category:
    return Category(id, words or id, release or words or id, held_out, assets)


CATEGORIES: tuple[Category, ...] = (
    _category(
        "ball", "053_mini_soccer_ball", "054_softball", "055_baseball", "056_tennis_ball", "057_racquetball"
    ),
    _category("clamp", "050_medium_clamp", "051_large_clamp", "052_extra_large_clamp"),
    _category("hammer", "048_hammer"),
    _category("screwdriver", "043_phillips_screwdriver", "044_flat_screwdriver"),
    _category("padlock", "038_padlock"),
    _category("scissors", "037_scissors"),
    _category("block", "036_wood_block", "070-a_colored_wood_blocks", "070-b_colored_wood_blocks"),
    _category("drill", "035_power_drill"),
    _category("spatula", "033_spatula"),
    _category("knife", "032_knife"),
    _category("spoon", "031_spoon"),
    _category("plate", "029_plate"),
    _category("sponge", "026_sponge"),
    _category("cleanser", "021_bleach_cleanser"),
    _category("plum", "018_plum"),
    _category("pear", "016_pear"),
    _category("peach", "015_peach"),
    _category("apple", "013_apple"),
    _category("lemon", "014_lemon"),
    _category("can", "002_master_chef_can", "005_tomato_soup_can", "007_tuna_fish_can", "010_potted_meat_can"),
    _category("box", "003_cracker_box", "004_sugar_box", "008_pudding_box", "009_gelatin_box"),
    _category("banana", "011_banana"),
    _category("strawberry", "012_strawberry"),
    _category("lego", *(f"073-{letter}_lego_duplo" for letter in "abcdefg")),
    _category("rubriks_cube", "077_rubiks_cube", words="cube", release="rubriks cube"),
    _category("book", *(f"frl_apartment_book_0{number}" for number in (1, 2, 3, 4, 5, 6))),
    _category("bowl", "024_bowl", *(f"frl_apartment_bowl_0{number}" for number in (1, 2, 3, 6, 7))),
    _category(
        "cup",
        *(f"065-{letter}_cups" for letter in "abcdefghij"),
        *(f"frl_apartment_cup_0{number}" for number in (1, 2, 3, 5)),
    ),
    _category("mug", "025_mug", held_out=True),
    _category("orange", "017_orange", held_out=True),
    _category("lid", "028_skillet_lid", held_out=True),
    _category(
        "toy_airplane", *(f"072-{letter}_toy_airplane" for letter in "abcde"),
        words="toy", release="toy airplane", held_out=True,
    ),
    _category("wrench", "042_adjustable_wrench", held_out=True),
    *(
        Category(own.id, own.words, own.id, own.held_out, tuple(asset.id for asset in own.asset))
        for own in extension().category
    ),
)  # fmt: skip

_NAMED: tuple[Receptacle | Category | Handle, ...] = (*RECEPTACLES, *CATEGORIES, *HANDLES)
without_clash("name", tuple(entry.id for entry in _NAMED))
without_clash("word", tuple(entry.words for entry in _NAMED if not isinstance(entry, Handle)))
without_clash("asset", tuple(asset for entry in CATEGORIES for asset in entry.assets))

FRIDGE_HANDLE = "fridge_handle"
"""The one handle that is no drawer's."""
OPEN_RECEPTACLES: tuple[str, ...] = tuple(receptacle.id for receptacle in RECEPTACLES if receptacle.is_open)
NAV_TARGETS: tuple[str, ...] = (*(r.id for r in RECEPTACLES), *(h.id for h in HANDLES))
"""The 16 arguments of the navigation skill."""


@cache
def receptacle(id: str) -> Receptacle:
    """The receptacle with this identifier; KeyError when there is none."""
    return {entry.id: entry for entry in RECEPTACLES}[id]


@cache
def handle(id: str) -> Handle:
    """The handle with this identifier; KeyError when there is none."""
    return {entry.id: entry for entry in HANDLES}[id]


@cache
def category(id: str) -> Category:
    """The category with this identifier; KeyError when there is none."""
    return {entry.id: entry for entry in CATEGORIES}[id]


@cache
def category_of_asset(asset: str) -> str:
    """The category that an asset belongs to; KeyError when it is unknown."""
    return {asset: entry.id for entry in CATEGORIES for asset in entry.assets}[asset]
