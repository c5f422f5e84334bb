import pytest

from d2_saliency.keys.key import LARGEST, Key, did_you_mean, is_cell, is_index

SHARE = Key(0.5, "", low=0, high=1)
COUNT = Key(4, "", low=1, high=LARGEST)
COLOUR = Key("red", "", choices=("red", "yellow"))
SWITCH = Key(True, "")
PLACES = Key([], "", each=is_index, hint="whole numbers from 0, e.g. [3]")
CELLS = Key([], "", each=is_cell, hint="cells")


@pytest.mark.parametrize(
    "key, values",
    [
        (SHARE, [0, 0.25, 1.0]),
        (COUNT, [1, LARGEST]),
        (COLOUR, ["red", "yellow"]),
        (SWITCH, [True, False]),
        (PLACES, [[], [0, 7], (7,)]),
        (CELLS, [[], [[0, 1], (2, 3)]]),
        (Key("anything", ""), ["else"]),
        (Key(["any"], ""), [["thing"]]),
    ],
)
def test_values_that_fit(key, values):
    for value in values:
        key.check("A.KEY", value)


@pytest.mark.parametrize(
    "key, value, message",
    [
        (SHARE, 1.5, "A.KEY is 1.5; choose a number from 0 to 1."),
        (SHARE, float("nan"), "A.KEY is nan; choose a number from 0 to 1."),
        (SHARE, "half", "A.KEY is 'half'; choose a number from 0 to 1."),
        (COUNT, 0, "A.KEY is 0; choose a whole number from 1 to 2^63 - 1."),
        (COUNT, 2.5, "A.KEY is 2.5; choose a whole number from 1 to 2^63 - 1."),
        (COUNT, LARGEST + 1, f"A.KEY is {LARGEST + 1}; choose a whole number from 1 to 2^63 - 1."),
        (COLOUR, "blue", "A.KEY is 'blue'; choose one of red, yellow."),
        (COLOUR, "yelow", "A.KEY is 'yelow'; choose one of red, yellow. Did you mean yellow?"),
        (COLOUR, 3, "A.KEY is 3; choose one of red, yellow."),
        (SWITCH, "off", "A.KEY is 'off'; choose True or False."),
        (PLACES, [-1], "A.KEY is [-1]; give whole numbers from 0, e.g. [3]."),
        (PLACES, 3, "A.KEY is 3; give whole numbers from 0, e.g. [3]."),
        (CELLS, [[1]], "A.KEY is [[1]]; give cells."),
        (CELLS, [[0, True]], "A.KEY is [[0, True]]; give cells."),
        (SHARE, None, "A.KEY has no value; leave it out for its default."),
        (Key("anything", ""), None, "A.KEY has no value; leave it out for its default."),
    ],
)
def test_values_that_do_not_fit(key, value, message):
    with pytest.raises(ValueError) as error:
        key.check("A.KEY", value)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "word, nearest",
    [
        ("odam", "ODAM"),
        ("ODM", "ODAM"),
        ("Grad-CAM", "GradCAM"),
        ("GradCAM++", "GradCAMPlusPlus"),
        ("SmoothGrad", "ODSmoothGrad"),
        ("xyz", None),
        (3, None),
    ],
)
def test_did_you_mean(word, nearest):
    names = ["GradCAM", "GradCAMPlusPlus", "ODAM", "ODSmoothGrad"]
    assert did_you_mean(word, names) == (f" Did you mean {nearest}?" if nearest else "")
