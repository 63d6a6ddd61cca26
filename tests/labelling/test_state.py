"""What a row of actions comes to."""

import itertools

import pytest

from meddistill.labelling.actions import Action, Box, from_plain, to_plain
from meddistill.labelling.box_table import LabelRow, rows_of
from meddistill.labelling.state import (
    can_redo,
    can_undo,
    counts_of,
    derive,
    in_order,
    seconds_a_box,
)

FINDINGS = ("tumour", "cyst")
_ids = itertools.count()


def act(kind, user="me", moment=0, **fields):
    return Action(f"a{next(_ids)}", "a.png", kind, user, moment, **fields)


def drawn(box_id="b1", finding="tumour", source="drawn", **more):
    return act("draw", box=Box(box_id, (1, 2, 30, 40), finding, source), **more)


def status(*actions):
    return derive(actions, FINDINGS).status(FINDINGS)


def test_nobody_looked():
    assert status() == "open"


def test_a_box():
    state = derive([drawn()], FINDINGS)
    assert [box.xyxy for box in state.boxes] == [(1, 2, 30, 40)]
    assert state.status(FINDINGS) == "boxed"


def test_nothing_there_takes_the_boxes_away_and_a_box_takes_that_back():
    assert derive([drawn(), act("empty")], FINDINGS).boxes == ()
    assert status(drawn(), act("empty")) == "empty"
    assert status(act("empty"), drawn()) == "boxed"
    assert derive([act("empty"), drawn()], FINDINGS).nothing == {"cyst"}


def test_nothing_there_by_finding():
    state = derive(
        [drawn("b1", "tumour"), drawn("b2", "cyst"), act("empty", finding="cyst")], FINDINGS
    )
    assert [box.finding for box in state.boxes] == ["tumour"]
    assert state.nothing == {"cyst"}
    assert status(act("empty", finding="cyst")) == "open"
    assert status(act("empty", finding="cyst"), act("empty", finding="tumour")) == "empty"


def test_not_sure_stays_unknown():
    state = derive([drawn(), act("unsure")], FINDINGS)
    assert (state.status(FINDINGS), state.boxes) == ("unsure", ())
    assert list(rows_of("a.png", state, FINDINGS)) == []
    assert status(act("unsure", finding="cyst"), act("empty", finding="tumour")) == "unsure"


def test_skipped_until_something_is_done():
    assert status(act("skip")) == "skipped"
    assert status(act("skip"), drawn()) == "boxed"
    assert status(drawn(), act("skip")) == "boxed"


@pytest.mark.parametrize(
    ("source", "after"),
    [
        ("drawn", "drawn"),
        ("accepted", "corrected"),
        ("given", "corrected"),
        ("corrected", "corrected"),
    ],
)
def test_a_moved_box_keeps_whose_it_is_unless_nobody_drew_it(source, after):
    moved = act("move", box_id="b1", xyxy=(5, 5, 9, 9))
    (box,) = derive([drawn(source=source), moved], FINDINGS).boxes
    assert (box.xyxy, box.source) == ((5, 5, 9, 9), after)


def test_another_finding():
    state = derive(
        [act("empty", finding="cyst"), drawn(), act("name", box_id="b1", finding="cyst")], FINDINGS
    )
    assert [box.finding for box in state.boxes] == ["cyst"]
    assert state.nothing == set()


def test_what_is_about_a_box_that_is_gone_does_nothing():
    gone = [drawn(), act("delete", box_id="b1")]
    assert derive([*gone, act("move", box_id="b1", xyxy=(5, 5, 9, 9))], FINDINGS).boxes == ()


def test_given_counts_where_it_comes_first():
    box = Box("given-0", (1, 1, 5, 5), "tumour", "given")
    given = act("given", boxes=(box,))
    assert derive([given], FINDINGS).boxes == (box,)
    assert len(derive([drawn(), given], FINDINGS).boxes) == 1
    assert derive([drawn(), given], FINDINGS).boxes[0].box_id == "b1"
    assert status(act("given", nothing=FINDINGS)) == "empty"


def test_undo_and_redo_without_limit():
    actions = [drawn(f"b{number}") for number in range(30)]
    done = len(actions)
    for left in range(29, -1, -1):
        actions.append(act("undo", of=can_undo(actions, "me")))
        assert len(derive(actions, FINDINGS).boxes) == left
    assert can_undo(actions, "me") == ""
    for there in range(1, done + 1):
        actions.append(act("redo", of=can_redo(actions, "me")))
        assert len(derive(actions, FINDINGS).boxes) == there
    assert can_redo(actions, "me") == ""
    assert [box.box_id for box in derive(actions, FINDINGS).boxes] == [f"b{n}" for n in range(30)]


def test_something_new_ends_redo():
    actions = [drawn("b1"), drawn("b2")]
    actions.append(act("undo", of=actions[1].action_id))
    assert can_redo(actions, "me") == actions[1].action_id
    actions.append(drawn("b3"))
    assert can_redo(actions, "me") == ""
    actions.append(act("undo", of=can_undo(actions, "me")))
    assert [box.box_id for box in derive(actions, FINDINGS).boxes] == ["b1"]


def test_one_undoes_ones_own():
    actions = [drawn("b1", user="anna"), drawn("b2", user="ben")]
    assert can_undo(actions, "anna") == actions[0].action_id
    assert can_undo(actions, "eve") == ""


def test_what_several_people_did_comes_in_order_of_time():
    late, early = drawn("b1", user="anna", moment=20), act("empty", user="ben", moment=10)
    assert in_order([late, early]) == [early, late]


def test_rows_are_boxes_and_what_is_not_there():
    state = derive([drawn(), act("empty", finding="cyst")], FINDINGS)
    assert list(rows_of("a.png", state, FINDINGS)) == [
        LabelRow("a.png", 1, 2, 30, 40, "tumour", "drawn"),
        LabelRow("a.png", None, None, None, None, "cyst"),
    ]


def test_counts_and_seconds_a_box():
    states = [derive([drawn()], FINDINGS), derive([act("empty")], FINDINGS)]
    assert counts_of(states, FINDINGS, 5) == {
        "boxed": 1, "empty": 1, "unsure": 0, "skipped": 0, "open": 3,
    }  # fmt: skip
    actions = [drawn(moment=moment) for moment in (0, 2000, 6000, 106_000, 107_000)]
    assert seconds_a_box(actions) == 2.0
    assert seconds_a_box(actions[:1]) is None
    given = act("given", moment=2000)  # written with the first action on an image
    assert seconds_a_box([actions[0], given, actions[1]]) == 2.0
    assert seconds_a_box([given, actions[1]]) is None


@pytest.mark.parametrize(
    "action",
    [
        drawn(),
        Action("a0", "images/Screenshot at 3.45\u202fPM \u3000 a\u0308\u200b.png", "skip", "me", 1),
        act("move", box_id="b1", xyxy=(1.0, 2.0, 3.0, 4.0)),
        act("name", box_id="b1", finding="cyst"),
        act("delete", box_id="b1"),
        act("empty"),
        act("unsure", finding="cyst"),
        act("empty", among=("tumour", "cyst")),
        act("skip"),
        act("undo", of="a1"),
        act("redo", of="a1"),
        act("given", boxes=(Box("g", (1.0, 2.0, 3.0, 4.0), "tumour", "given"),), nothing=("cyst",)),
    ],
    ids=lambda action: action.kind,
)
def test_an_action_comes_back_as_it_was_written(action):
    assert from_plain(to_plain(action), "me") == action


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"do": "burn"}, "'do' is 'burn', expected one of"),
        ({"id": "../x"}, "'id' is no plain name"),
        ({"id": 5}, "'id' is no plain name"),
        ({"image": None}, "'image' is no text"),
        ({"image": "a\nb"}, "'image' is no text"),
        ({"image": "x" * 1001}, "'image' is no text"),
        ({"t": -1}, "'t' is no time"),
        ({"box": None}, "'box' is no box"),
        ({"box": {"id": "b", "xyxy": [1, 2, 3], "finding": "x", "source": "drawn"}}, "four numbers"),
        ({"box": {"id": "b", "xyxy": [1, 2, 1, 4], "finding": "x", "source": "drawn"}}, "no area"),
        ({"box": {"id": "b", "xyxy": [1, 2, float("nan"), 4], "finding": "x", "source": "drawn"}}, "four numbers"),
        ({"box": {"id": "b", "xyxy": [1, 2, 3, 4], "finding": "x", "source": "dreamt"}}, "source is 'dreamt'"),
    ],
)  # fmt: skip
def test_what_is_no_action_is_refused(change, why):
    with pytest.raises(ValueError, match=why):
        from_plain({**to_plain(drawn()), **change})


def test_a_list_is_no_action():
    with pytest.raises(ValueError, match="expected an object, got list"):
        from_plain([])
