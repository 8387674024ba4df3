"""Every asset has a look; categories can be told apart; the smallest one is large enough."""

import itertools

import numpy as np
import pytest

from llarp.config import load_params
from llarp.scenes.catalog import CATEGORIES
from llarp.scenes.layout import Pose
from llarp.scenes.variants import NUM_VARIANTS, held_out_variants, training_variants
from llarp.sim.drawing.bodies import form_body
from llarp.sim.drawing.forms import FORMS
from llarp.sim.drawing.looks import SIZE_JITTER, look
from llarp.sim.drawing.painter import painter
from llarp.sim.drawing.visibility import print_table, table

ASSETS = [(category.id, asset) for category in CATEGORIES for asset in category.assets]


def test_every_asset_has_bounded_looks():
    assert len(ASSETS) == 81
    for _, asset in ASSETS:
        looks = [look(asset, variant) for variant in range(NUM_VARIANTS)]
        paints = {solid.paint for solid in FORMS[looks[0].form]}
        for seen in looks:
            assert abs(seen.scale - 1) <= SIZE_JITTER
            assert max(paints) < len(seen.colours)
            assert np.all((np.array(seen.colours) >= 0) & (np.array(seen.colours) <= 1))
        assert len({seen.scale for seen in looks}) == NUM_VARIANTS
        colours = np.array([seen.colours for seen in looks])
        assert np.ptp(colours, axis=0).max() < 0.45, "a variant keeps its asset's colours"


def test_unknown_assets_are_refused():
    with pytest.raises(KeyError):
        look("999_nothing", 0)


def test_variants_are_split_between_training_and_evaluation():
    both = [*training_variants(), *held_out_variants()]
    assert sorted(both) == list(range(NUM_VARIANTS)) and held_out_variants()


def test_forms_stand_on_their_base():
    for form in FORMS:
        corners = form_body(form).corners
        assert -0.035 < corners[:, 2].min() < 0.01, form
        assert 0.03 < np.ptp(corners, axis=0).max() < 0.45, form


def test_categories_can_be_told_apart_in_the_hand():
    """No two assets of different categories have nearly the same picture."""
    brush, pose = painter(load_params().camera), Pose(0, 0, 0)
    pictures = {}
    for category, asset in ASSETS:
        covered = brush.cast(None, pose, held=(asset, 0)).covered
        assert covered.sum() > 100, asset
        image = brush.draw(None, pose, held=(asset, 0)).astype(int)
        pictures[category, asset] = np.where(covered[..., None], image, 0)
    for (first, one), (second, other) in itertools.combinations(pictures.items(), 2):
        if first[0] != second[0]:
            covered = ((one > 0) | (other > 0)).any(-1)
            assert np.abs(one - other)[covered].mean() > 15, (first, second)


def test_the_smallest_category_covers_thirty_pixels(capsys):
    camera = load_params().camera
    rows = table(camera)
    assert {row.category for row in rows} == {category.id for category in CATEGORIES}
    assert rows[0].median == min(row.median for row in rows) >= 60
    assert min(row.least for row in rows) >= 30, "every placement, all variants"
    print_table(camera)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(CATEGORIES)
