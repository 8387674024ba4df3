"""What can be done in every episode, as planners see it: types, predicates and the robot's skills as actions."""

from llarp.sim.planning.strips import Action

START, HAND, NO_DOOR = "start", "hand", "no_door"
"""The first pose; where a held object is; what closes an open receptacle, and is always open."""

TYPES = {
    "pose": "object",
    "item": "object",
    "location": "object",
    "site": "location",  # where an item can be taken from
    "spot": "site",  # where it lies at the start
    "surface": "site",  # what it was put down on
    "door": "object",
}
PREDICATES = {
    "at": ("pose",),
    "lies": ("item", "location"),
    "hand_empty": (),
    "opened": ("door",),
    "closed": ("door",),
    "done": (),
    # what never changes
    "target": ("pose",),  # navigation leads there
    "reaches": ("pose", "location"),
    "reaches_not": ("pose", "location"),
    "item_near": ("pose", "location"),
    "item_far": ("pose", "location"),
    "over": ("pose", "surface"),  # what is held here counts as on top of it
    "not_over": ("pose", "surface"),
    "surface_near": ("pose", "surface"),
    "surface_far": ("pose", "surface"),
    "door_near": ("pose", "door"),
    "door_far": ("pose", "door"),
    "on": ("site", "surface"),
    "not_on": ("site", "surface"),
    "behind": ("site", "door"),
}
"""Predicate to the types of its arguments. Besides, `rank_K` says that an item is the K-th of its category, and
`before_K` which item is the K-th of another's."""


MOVES = (
    Action(
        "nav", {"?p": "pose", "?q": "pose"}, [("at", "?p"), ("target", "?q")], [("at", "?q")], [("at", "?p")]
    ),
    Action(
        "place",
        {"?p": "pose", "?i": "item", "?s": "surface", "?d": "door"},
        [("at", "?p"), ("lies", "?i", HAND), ("surface_near", "?p", "?s"), ("behind", "?s", "?d"), ("opened", "?d")],
        [("lies", "?i", "?s"), ("hand_empty",)],
        [("lies", "?i", HAND)],
    ),
    *(
        Action(
            name, {"?p": "pose", "?d": "door"}, [("at", "?p"), ("door_near", "?p", "?d"), (before, "?d")],
            [(after, "?d")], [(before, "?d")],
        )
        for name, before, after in (("open", "closed", "opened"), ("close", "opened", "closed"))
    ),
)  # fmt: skip


def pick(rank: int) -> Action:
    """Takes the item of a rank from where all before it are out of reach."""
    others = {"?" + kind[0] + str(other): kind for other in range(1, rank) for kind in ("item", "site")}
    away = [
        atom
        for k in range(1, rank)
        for atom in ((f"before_{k}", f"?i{k}", "?i"), ("lies", f"?i{k}", f"?s{k}"), ("reaches_not", "?p", f"?s{k}"))
    ]
    return Action(
        f"pick_{rank}",
        {"?p": "pose", "?i": "item", "?l": "site", "?d": "door"} | others,
        [
            ("at", "?p"), ("hand_empty",), (f"rank_{rank}", "?i"), ("lies", "?i", "?l"), ("reaches", "?p", "?l"),
            ("behind", "?l", "?d"), ("opened", "?d"), *away,
        ],
        [("lies", "?i", HAND)],
        [("lies", "?i", "?l"), ("hand_empty",)],
    )  # fmt: skip


def pose_name(target: str) -> str:
    """The pose before a navigation target."""
    return f"before_{target}"


def spot_name(item: str) -> str:
    """Where an item lies at the start."""
    return f"spot_{item}"


def rank_of(item: str) -> int:
    """Its number among the items of its category, from 1."""
    return int(item.rpartition("_")[2])


def before(item: str) -> list[str]:
    """Items of the same category that pick takes rather than this one when both are in reach."""
    return [f"{item.rpartition('_')[0]}_{rank}" for rank in range(1, rank_of(item))]
