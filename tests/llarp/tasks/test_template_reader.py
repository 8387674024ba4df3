"""What the reader says of mistakes in a templates file: every one, with its line and what to do about it."""

import re

import pytest

from llarp.errors import UserError
from llarp.tasks.language.load import language, load, own_file
from llarp.tasks.language.reader import read

TEXT = own_file().read_text()
FIRST = '    "Move the {x} to the {b}.",'
SECOND = '    "Put {an x} on the {b}.",'
CLAIM = '    "The {z} on the {c} belongs to my sister.",'
LOOKS = 'plum = ["dark purple fruit"'
FACT = 'plum = ["fruit that lends its name to a professor in Cluedo"]'


def problems(tmp_path, text):
    path = tmp_path / "words.toml"
    path.write_text(text)
    return [str(problem).removeprefix(f"{path}:") for problem in read(path)[1]]


def test_the_projects_own_file_is_right():
    assert read(own_file())[1] == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (FIRST, '    "Move the {q} to the {b}.",', r"train\.move_to\.0: unknown slot \{q\}, the head"),
        (FIRST, '    "Move {a x} to the {b}.",', r"train\.move_to\.0: unknown slot \{a x\}"),
        (FIRST, '    "Move {} to the {b}.",', r"train\.move_to\.0: unknown slot"),
        (FIRST, '    "Move the {x to the {b}.",', r"train\.move_to\.0: a brace is not closed"),
        (FIRST, '    "Move it to the {b}.",', r"train\.move_to\.0: slot x is missing, write all of \{b\}, \{x\}"),
        (FIRST, '    "Move the {x} from the {a} to the {b}.",', r"train\.move_to\.0: slot a has no meaning here"),
        (FIRST, '    " ",', r"train\.move_to\.0: not a text, or an empty one, write"),
        (FIRST, "    7,", r"train\.move_to\.0: not a text"),
        (FIRST, '    "move the {x} to the {b}.",', r"train\.move_to\.0: does not begin with a capital letter"),
        (FIRST, '    "Move the {x} to the {b}",', r"train\.move_to\.0: does not end as a sentence"),
        (FIRST, '    "Move the  {x} to the {b}.",', r"train\.move_to\.0: has a space too many"),
        (
            FIRST,
            '    "Move a {x} to the {b}.",',
            r"train\.move_to\.0: article before a slot: 'a \{x\}', write \{an x\}",
        ),
        (FIRST, '    "Move the {an x} to the {b}.",', r"train\.move_to\.0: two articles"),
        (FIRST, '    "Move the {x} to the {b} in a hour or an minute.",', r"train\.move_to\.0: article: 'an minute'"),
        (SECOND, '    "Move {an x} to the {b}!",', r"train\.move_to\.1: says the same as train\.move_to\.0"),
        ('    "Let the {x} end up on the {b}.",', FIRST, r"rephrasing\.move_to\.3: says the same as train\.move_to\.0"),
        ("\nscissors = [\n", "\nshears = [\n", r"context\.shears: unknown name, have ball, clamp"),
        ('"There is bread to be sliced', '"There is a knife to be used', r"context\.knife\.0: names the knife"),
        ('before = ["move_from_to"', 'before = ["move_from"', r"irrelevant_text\.before\.0: no family of training"),
        (CLAIM, '    "The {z} belongs to my sister.",', r"irrelevant_text\.claims\.3: slot c is missing"),
        ('    "I bought the {z} ', '    "I bought the {x} ', r"irrelevant_text\.remarks\.0: slot x may be the task's"),
        ("knife = { plural", "knife = { plurals", r"grammar\.knife: has other forms than"),
        ("\nknife = { plural", "\nsword = { plural", r"grammar\.sword: unknown name"),
        (LOOKS, 'plum = [] # "', r"looks\.plum: not a list of texts, or an empty one"),
        (LOOKS, 'plum = ["a purple fruit"', r"looks\.plum\.0: begins with an article"),
        (LOOKS, 'plum = ["purple plum"', r"looks\.plum\.0: names the plum"),
        (LOOKS, 'plum = ["long curved yellow fruit"', r"looks\.banana\.0: says the same as looks\.plum\.0"),
        (FACT, 'plum = ["fruit that is found on a table"]', r"facts\.attribute\.plum\.0: training says 'table' too"),
        (FACT, 'plum = ["fruit that prunes are made of"]', r"facts\.attribute\.plum\.0: ends with 'of'"),
        ('    "Find {an fact x}.",', '    "Find {an x}.",', r"knowledge\.find\.0: asks for no fact"),
        ('table = ["black_table"', 'table = ["desk"', r"kinds\.table\.0: no receptacle .* is called 'desk'"),
        ("\nfarthest = [", "\nremotest = [", r"relations\.remotest: unknown name, have nearest, farthest"),
        (
            'nearest = ["{kind} nearest to the {one}"',
            'nearest = ["{kind} nearest"',
            r"relations\.nearest\.0: has slots",
        ),
    ],
)
def test_a_mistake_is_the_only_problem_and_has_its_line(tmp_path, old, new, complaint):
    assert TEXT.count(old) >= 1
    before, _, after = TEXT.partition(old)
    if old == "\nscissors = [\n":  # the one of `context`
        before, after = TEXT.split(old, 1)
    text = before + new + after
    line = text.count("\n", 0, len(before) + (len(new) - len(new.lstrip("\n")))) + 1
    (problem,) = problems(tmp_path, text)
    number, _, rest = problem.partition(": ")
    assert re.match(complaint, rest), problem
    if "banana" not in complaint:  # there the second of two equal phrases is the one to reword
        assert int(number) == line


@pytest.mark.parametrize(
    ("old", "new", "complaints"),
    [
        (
            CLAIM,
            CLAIM.replace("{z}", "{x}"),
            {"irrelevant_text.claims.3: slot z is missing", "irrelevant_text.claims.3: slot x has no meaning here"},
        ),
        ("[spatial]", "[special]", {"special: unknown table", "spatial: table is missing"}),
        (
            "\nmove_to = [",
            "\nmove_two = [",
            {"train.move_two: unknown name", "train.move_to: has no wordings"},
        ),
        ("[train]", "[train", {"is no TOML: expected ']'"}),
    ],
)
def test_mistakes_that_show_in_two_places(tmp_path, old, new, complaints):
    found = problems(tmp_path, TEXT.replace(old, new, 1))
    assert all(any(complaint in problem for problem in found) for complaint in complaints), found
    assert len(found) == len(complaints)


def test_a_broken_string_is_told_with_its_line(tmp_path):
    (problem,) = problems(tmp_path, TEXT.replace('    "Go to the {b}.",', '    "Go to the {b}.', 1))
    line = TEXT[: TEXT.index('    "Go to the {b}.",')].count("\n") + 1
    assert problem.startswith(f"{line}: is no TOML")


def test_all_problems_are_told_at_once_in_order_of_lines(tmp_path):
    text = TEXT.replace(FIRST, '    "Move the {q} to the {b}.",', 1).replace(
        '    "Go to the {b}.",', '    "Go to {b}",', 1
    )
    text = text.replace("knife = { plural", "knife = { plurals", 1)
    found = problems(tmp_path, text)
    lines = [int(problem.split(":")[0]) for problem in found]
    assert len(found) == 3 and lines == sorted(lines)
    with pytest.raises(UserError, match=r"words\.toml:\d+: train\.move_to\.0: unknown slot .*and 2 more"):
        load(tmp_path / "words.toml")


def test_lines_are_found_however_the_file_is_written(tmp_path):
    odd = """
        [train] # a comment with "quotes" and [brackets]
        go_to = ["Go to the {b}.", # first
            'Walk to the {b}.', \"\"\"Run
to the {b}.\"\"\", "drive"]
        """
    found = problems(tmp_path, odd)
    assert any(problem.startswith("5: train.go_to.3: ") for problem in found)
    assert not any("train.go_to.0" in problem or "train.go_to.1" in problem for problem in found)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_one_line_more_is_one_wording_more(tmp_path):
    path = tmp_path / "words.toml"
    path.write_text(TEXT.replace(FIRST, FIRST + '\n    "Kindly hand {an x} over to the {b}.",', 1))
    assert len(load(path).pools["train"]["move_to"]) == len(language().pools["train"]["move_to"]) + 1


def test_a_file_can_add_to_the_projects_own(tmp_path):
    path = tmp_path / "more.toml"
    path.write_text('[train]\ngo_to = ["Kindly proceed to the {b}."]\n\n[looks]\nplum = ["violet fruit"]\n')
    more = load(own_file(), path)
    assert more.pools["train"]["go_to"][-1].id == "train.go_to.11"
    assert more.looks["plum"] == (*language().looks["plum"], "violet fruit")
    path.write_text('[train]\ngo_to = ["Go to the {b}!"]\n')
    with pytest.raises(UserError, match=r"more\.toml:2: train\.go_to\.11: says the same as train\.go_to\.0"):
        load(own_file(), path)
