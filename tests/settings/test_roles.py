"""Each setting does what its role says: it is turned, and what must follow, or must not, is looked at."""

import dataclasses
import json

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher

from meddistill.base.errors import ConfigError
from meddistill.data.formats.pictures import write_png
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.settings import identity, roles
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.config import Config
from meddistill.settings.distill import DistillConfig
from meddistill.settings.roles import Role, setting
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.making import TargetMaker
from meddistill.targets.requests import TargetRequest

# Where a setting may have another value only beside another setting.
BESIDE = {
    "prepare.fold": {"folds": 3},
    "distill.deep_supervision": {"student": "nested_unet"},
    "distill.rounds": {"rounds": 2},  # switched on
}
WORDS = (
    *(
        "none",
        "class",
        "case",
        "percentile",
        "image",
        "detected",
        "empty",
        "adam",
        "constant",
        "last",
    ),
    *("gce", "mse", "paper", "32-true", "zoom", "val", "ignore", "always", "first", "exclusive"),
    *("stretched", "best", "auto"),
    "some other",
)
# What follows from a role; `as it is`: a detector that is not trained.
IDENTITIES = ("prepare", "detect", "detect as it is", "teacher", "distill", "eval", "key")
FOLLOWS = {
    ("prepare", Role.RESULT): {"prepare"},
    ("detect", Role.RESULT): {"detect", "detect as it is"},
    ("detect", Role.TRAINING): {"detect"},
    ("eval", Role.RESULT): {"eval"},
    ("distill", Role.TARGETS): {"teacher", "distill"},
    ("distill.targets", Role.TARGETS): {"teacher", "distill", "key"},
    ("distill", Role.CHOICE): {"teacher", "distill"},
    ("distill.targets", Role.CHOICE): {"teacher", "distill"},
    ("distill", Role.FEATURES): {"teacher", "distill"},
    ("distill.targets", Role.FEATURES): {"teacher", "distill"},
    ("distill", Role.BASELINE): {"teacher"},
    ("distill", Role.SWITCH): {"distill"},
    ("distill", Role.STUDENT): {"distill"},
    ("distill.colearning", Role.SWITCH): {"distill"},
    ("distill.colearning", Role.STUDENT): {"distill"},
}
# Their names count beside their content, as they always have.
NAMED = {"distill.boxes_file": {"distill"}, "distill.warm_start": {"distill"}}


def settings_of(config, prefix=""):
    """Key, section, field of every setting there is."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", prefix.rstrip("."), field


ALL = {key: (section, field) for key, section, field in settings_of(Config())}


def base_of(key):
    """The configs with what `key` needs beside it, before it is turned."""
    section, _, _ = key.rpartition(".")
    config = Config()
    if key in BESIDE:
        inside = dataclasses.replace(getattr(config, section), **BESIDE[key])
        config = dataclasses.replace(config, **{section: inside})
    return config


def turned(config, key):
    """`config` with another valid value of the setting."""
    name, *inside = reversed(key.split("."))
    sections = [config]
    for part in reversed(inside):
        sections.append(getattr(sections[-1], part))
    for value in others(getattr(sections[-1], name), dataclasses.fields(sections[-1]), name):
        try:
            found = dataclasses.replace(sections[-1], **{name: value})
            break
        except ConfigError:
            continue
    else:
        raise AssertionError(f"no other valid value of {key} is known here")
    for outer, part in zip(reversed(sections[:-1]), inside, strict=True):
        found = dataclasses.replace(outer, **{part: found})
    return found


def others(value, fields, name):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value + 2, value - 1, 2 * value]
    if isinstance(value, float):
        return [value / 2 + 0.01, value + 1]
    if isinstance(value, list):
        return [[*value, 8], [*value, "other"]]
    if isinstance(value, str):
        return [word for word in WORDS if word != value]
    hint = next(field.type for field in fields if field.name == name)
    assert hint == "Optional[float]", f"{name} is empty and of type {hint}"
    return [0.3]


def keys_of_targets(config, tmp_path, teacher=None, frame_size=32, box=(4, 4, 20, 20)):
    case = Case("a", "test", "g", "c", "boxes", False, "a.png", 32, 32, 1, "", "s", "")
    request = TargetRequest(case, np.array([box], np.float32), "annotated", frame_size)
    (tmp_path / "data").mkdir(exist_ok=True)
    write_png(tmp_path / "data" / "a.png", np.zeros((32, 32, 3), np.uint8))
    dataset = Dataset(tmp_path / "data", [case])
    maker = TargetMaker(teacher or PaintingTeacher(), dataset, tmp_path / "targets", config)
    return [row.key for row in maker.make([request])]


def identities(config, tmp_path, with_key):
    as_it_is = dataclasses.replace(config.detect, train=False)
    return {
        "prepare": identity.of_prepare(config.prepare, config.seed, config.prepare.dataset),
        "detect": identity.of_detect(config.detect, config.seed),
        "detect as it is": identity.of_detect(as_it_is, config.seed),
        "teacher": identity.of_teacher(config.distill, config.distill.teacher),
        "distill": identity.of_distill(config.distill, config.seed),
        "eval": identity.of_eval(config.eval, config.seed),
        "key": keys_of_targets(config.distill.targets, tmp_path) if with_key else None,
    }


@pytest.mark.parametrize("key", ALL)
def test_what_follows_from_a_setting_is_what_its_role_says(key, tmp_path):
    section, field = ALL[key]
    role = roles.role_of(field)
    expected = NAMED.get(key, FOLLOWS.get((section, role), set()))
    if not expected:
        assert key == "seed" or role in (Role.CONTENT, Role.NOTHING), f"{key}: no rule for {role}"
    config = base_of(key)
    with_key = section == "distill.targets"
    before = identities(config, tmp_path, with_key)
    after = identities(turned(config, key), tmp_path, with_key)
    changed = {name for name in IDENTITIES if before[name] != after[name]}
    if key == "seed":  # of every random choice; not of the teacher's, which has one of its own
        expected = {"prepare", "detect", "distill", "eval"}
    elif key == "detect.train":
        expected = {"detect"}
    assert changed == expected, f"{key} is said to be one that {role.value}"


@pytest.mark.parametrize(
    ("key", "off"),
    [("distill.feature_weight", 0.0), ("distill.feature_share", 0.0), ("distill.rounds", None)],
)
def test_a_switch_changes_what_the_teacher_is_asked_for(key, off):
    name = key.rpartition(".")[2]
    on = DistillConfig() if off is not None else DistillConfig(rounds=2)
    other = dataclasses.replace(on, **{name: getattr(on, name) * 2 if off is None else 0.05})
    without = dataclasses.replace(on, **{name: 1 if off is None else off})
    teacher = [identity.of_teacher(config, "t") for config in (on, other, without)]
    assert teacher[0] == teacher[1] != teacher[2]


def test_few_boxes_change_what_the_teacher_is_asked_for():
    """Unboxed images get no target of the usual kind, whether something is believed of them or not."""
    ways = ("propose", "ignore", "detected")
    configs = [DistillConfig(colearning=ColearningConfig(unboxed=way)) for way in ways]
    propose, ignore, detected = (identity.of_teacher(config, "t") for config in configs)
    assert propose == ignore != detected
    assert detected == identity.of_teacher(DistillConfig(), "t")


def test_every_switch_is_in_the_test_above():
    switches = {key for key, (_, field) in ALL.items() if roles.role_of(field) is Role.SWITCH}
    features = {"distill.feature_weight", "distill.feature_share"}
    assert switches == features | {"distill.rounds", "distill.colearning.unboxed"}


def test_what_changes_the_masks_outside_the_section_is_in_their_key(tmp_path):
    """The teacher and its file by its fingerprint, the boxes by what they are, the size, and tiles, by the frame."""
    outside = {
        key
        for key, (section, field) in ALL.items()
        if section == "distill" and roles.role_of(field) is Role.TARGETS
    }
    assert outside == {
        "distill.teacher",
        "distill.teacher_checkpoint",
        "distill.boxes",
        "distill.image_size",
        "distill.tiles",
    }, "a new one must enter the key of a target, too"
    other = PaintingTeacher()
    other.fingerprint = "painting-2"
    plain = TargetsConfig()
    found = [
        keys_of_targets(plain, tmp_path),
        keys_of_targets(plain, tmp_path, teacher=other),
        keys_of_targets(plain, tmp_path, frame_size=64),
        keys_of_targets(plain, tmp_path, box=(4, 4, 20, 21)),
    ]
    assert len({tuple(keys) for keys in found}) == 4


def test_a_setting_without_a_role_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Section:
        kept: int = setting(1, Role.RESULT)
        forgotten: int = 2

    with pytest.raises(TypeError, match="forgotten has no role"):
        roles.without_role(Section(), Role.NOTHING)


# A stage to which settings were added after there were RUNs.


@dataclasses.dataclass(frozen=True)
class Later(TargetsConfig):
    edges: str = setting("auto", Role.TARGETS, before="off")
    shown: int = setting(3, Role.NOTHING)


@dataclasses.dataclass(frozen=True)
class LaterDistill(DistillConfig):
    targets: Later = dataclasses.field(default_factory=Later)
    passes: int = setting(1, Role.STUDENT, before=1)
    dropout: float = setting(0.2, Role.STUDENT, before=0.0)
    bare: int = setting(7, Role.STUDENT)


def written():
    """What the version before those settings wrote down."""
    return json.loads(json.dumps(identity.of_distill(DistillConfig(epochs=3), 0)))


def test_a_setting_that_a_record_lacks_had_the_behaviour_from_before(monkeypatch):
    monkeypatch.setitem(identity.SCHEMAS, "distill", LaterDistill)
    config, told = roles.as_before(LaterDistill(epochs=3), written())
    assert told == {"targets.edges": "off", "dropout": 0.0}
    assert (config.targets.edges, config.passes, config.dropout) == ("off", 1, 0.0)
    old, new = (
        identity.as_of_now("distill", settings)
        for settings in (written(), identity.of_distill(config, 0))
    )
    del new["bare"]  # nobody said what it meant before: the two differ
    assert old == new


def test_another_value_than_the_default_is_kept():
    config, told = roles.as_before(LaterDistill(dropout=0.5, targets=Later(edges="on")), written())
    assert (config.dropout, config.targets.edges, told) == (0.5, "on", {})


def test_a_record_that_knows_the_setting_is_left_alone():
    config = LaterDistill()
    assert roles.as_before(config, identity.of_distill(config, 0)) == (config, {})


def test_targets_from_before_a_setting_are_found_again(tmp_path):
    old = keys_of_targets(TargetsConfig(), tmp_path)
    assert keys_of_targets(Later(edges="off"), tmp_path) == old
    assert keys_of_targets(Later(edges="off", shown=4), tmp_path) == old
    assert keys_of_targets(Later(), tmp_path) != old


def test_the_key_of_a_target_is_what_it_has_been():
    """To the byte: a key that changes makes every target anew, hours of the large teacher."""
    resolved = {"views": "both", "zoom": 2.0, "logit_shift": 0.5, "seed": "0 a"}
    assert identity.of_target(TargetsConfig(), resolved) == {
        "copies": 8,
        "share": 0.1,
        "views": "both",
        "zoom": 2.0,
        "shift_of_mean": 0.5,
        "jitter_seed": "0 a",
    }
    resolved = {"views": "whole", "zoom": 0.0, "logit_shift": 0.0, "seed": "0 a"}
    assert identity.of_target(TargetsConfig(), resolved) == {
        "copies": 8,
        "share": 0.1,
        "zoom": 0.0,
        "jitter_seed": "0 a",
    }


def test_a_list_is_nobody_elses():
    assert DistillConfig().feature_levels is not DistillConfig().feature_levels


def test_a_section_inside_says_what_its_settings_meant():
    inside = {"views": "whole", "logit_shift": 0.0}
    assert inside.items() <= roles.befores(TargetsConfig).items()
    found = roles.befores(DistillConfig)
    assert found.keys() >= {"targets", "colearning", "warm_start", "tiles"}
    assert inside.items() <= found["targets"].items()
    assert found["colearning"]["unboxed"] == "detected"
