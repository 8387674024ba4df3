"""Goal expressions: text form and meaning."""

import pytest

from llarp.tasks.goals import Goal, Predicate, parse, parse_predicate, satisfied


class Facts:
    """A world given as a set of true atoms and a list of objects."""

    def __init__(self, objects, *atoms):
        self.objects, self.atoms = objects, set(atoms)

    def holds(self, predicate):
        return str(predicate) in self.atoms

    def instances(self, category):
        return tuple(name for name, kind in self.objects.items() if kind == category)


TWO_APPLES = {"apple:0": "apple", "apple:1": "apple", "cup:0": "cup"}

TEXTS = [
    "AND(robot_at(sofa))",
    "AND(opened_fridge(fridge_handle), not_holding())",
    "EXISTS X:apple AND(on_top(X, sofa), not_holding())",
    "EXISTS X:apple, Y:cup AND(on_top(X, sofa), on_top(Y, sofa))",
    "AND(not_holding(), EXISTS X:apple NAND(on_top(X, sink)))",
    "FORALL X:apple OR(on_top(X, sofa), on_top(X, sink))",
    "OR(AND(holding(apple:0)), AND(holding(036_wood_block:1)))",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_round_trips(text):
    goal = parse(text)
    assert str(goal) == text
    assert parse(str(goal)) == goal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AND(",
        "AND(flies(X))",
        "on_top(X, sofa)",
        "AND(on_top(X))",
        "AND() AND()",
        "EXISTS AND(not_holding())",
        "AND(a;b)",
    ],
)
def test_bad_text_is_refused(text):
    with pytest.raises(ValueError):
        parse(text)


def test_a_predicate_is_read_from_text():
    assert parse_predicate("on_top(X, sofa)") == Predicate("on_top", ("X", "sofa"))
    assert parse_predicate("not_holding()") == Predicate("not_holding")
    with pytest.raises(ValueError):
        parse_predicate("on_top X sofa")


@pytest.mark.parametrize(
    ("text", "atoms", "expected"),
    [
        ("EXISTS X:apple AND(on_top(X, sofa))", ["on_top(apple:1, sofa)"], True),
        ("EXISTS X:apple AND(on_top(X, sofa))", ["on_top(cup:0, sofa)"], False),
        ("FORALL X:apple AND(on_top(X, sofa))", ["on_top(apple:1, sofa)"], False),
        ("FORALL X:apple AND(on_top(X, sofa))", ["on_top(apple:0, sofa)", "on_top(apple:1, sofa)"], True),
        ("FORALL X:pear AND(on_top(X, sofa))", [], True),
        ("EXISTS X:pear AND(on_top(X, sofa))", [], False),
        ("EXISTS X:apple NAND(on_top(X, sink))", [], True),
        ("EXISTS X:pear NAND(on_top(X, sink))", [], True),
        ("OR(robot_at(sofa), robot_at(sink))", ["robot_at(sink)"], True),
        ("OR(robot_at(sofa), robot_at(sink))", [], False),
        ("NAND(robot_at(sofa), robot_at(sink))", ["robot_at(sink)"], True),
        ("NAND(robot_at(sofa), robot_at(sink))", ["robot_at(sink)", "robot_at(sofa)"], False),
        ("AND(robot_at(sofa), EXISTS X:cup AND(holding(X)))", ["robot_at(sofa)", "holding(cup:0)"], True),
    ],
)
def test_meaning(text, atoms, expected):
    assert satisfied(parse(text), Facts(TWO_APPLES, *atoms)) is expected


def test_variables_of_one_category_stand_for_different_objects():
    goal = parse("EXISTS X:apple, Y:apple AND(on_top(X, sofa), on_top(Y, sofa))")
    assert not satisfied(goal, Facts(TWO_APPLES, "on_top(apple:0, sofa)"))
    assert satisfied(goal, Facts(TWO_APPLES, "on_top(apple:0, sofa)", "on_top(apple:1, sofa)"))


def test_an_inner_quantifier_hides_the_outer_variable():
    inner = parse("EXISTS X:cup AND(holding(X))")
    assert inner.bind({"X": "apple:0"}) == inner
    assert Goal("AND", (Predicate("holding", ("X",)),)).bind({"X": "apple:0"}) == parse("AND(holding(apple:0))")


def test_a_quantifier_needs_variables():
    with pytest.raises(ValueError):
        Goal("AND", (Predicate("not_holding"),), "EXISTS")
