"""Settings of one teacher or segmenter that a run with another would not read."""

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Any

from gsdff.config.choices import SEGMENTERS, TEACHERS
from gsdff.config.file import flatten, to_table
from gsdff.config.options import TeacherConfig, TrainConfig
from gsdff.config.smoothing import MaskConfig, needs_segments
from gsdff.errors import UserError

MASK_SETTINGS = frozenset(key for kind in SEGMENTERS.values() for key in kind.reads)
"""Options of masks that not all segmenters read."""
TEACHER_SETTINGS = frozenset(key for kind in TEACHERS.values() for key in kind.reads)
"""Options of teachers, which no teacher reads all of."""


def refuse_unread(config: TrainConfig) -> None:
    """Raises `UserError` for a setting that the chosen teacher or segmenter does not read; `config` is complete."""
    name, masks = config.teacher.name, config.masks
    for key in _unread_teacher_settings(config):
        reason = (
            f"the teacher is {name}, which does not read it" if name != "none" else "there is no teacher to read it"
        )
        if config.stage1_from is not None:
            reason += f" (`teacher.name` may come from {config.stage1_from})"
        able = [other for other, kind in TEACHERS.items() if key in kind.reads]
        advice = f"set `teacher.name` to {' or '.join(able)}, or leave it out"
        raise UserError(f"{_shown_setting('teacher', config.teacher, key)}: {reason}; {advice}")
    for key in _unread_mask_settings(config):
        able = [other for other, kind in SEGMENTERS.items() if key in kind.reads]
        reason = f"the masks are {masks.name}, which does not read it"
        advice = f"set `masks.name` to {' or '.join(able)}, or leave it out"
        if not needs_segments(config.smoothing):
            reason = "nothing reads masks here"
            advice = "give `config` sam, switch `smoothing.sam.form` on, or leave it out"
        raise UserError(f"{_shown_setting('masks', masks, key)}: {reason}; {advice}")


def leave_out_replaced(config: TrainConfig, given: TrainConfig, files: TrainConfig) -> TrainConfig:
    """The complete options without settings of files for a teacher or segmenter that the command line replaces.

    `given` are the options before they were completed. What files say of the teacher that they name is refused instead.
    """
    has_new_masks = given.masks.name != files.masks.name
    has_new_masks |= needs_segments(given.smoothing) != needs_segments(files.smoothing)
    replaced = {"teacher": given.teacher.name != files.teacher.name, "masks": has_new_masks}
    return leave_out_unread(config, files, [table for table, is_new in replaced.items() if is_new])


def leave_out_unread(
    config: TrainConfig, inherited: TrainConfig, tables: Collection[str] = ("teacher", "masks")
) -> TrainConfig:
    """The options without settings of another teacher or segmenter that come from the run it starts from."""
    teacher, masks = TeacherConfig(), MaskConfig()
    for key in _unread_teacher_settings(config) if "teacher" in tables else ():
        if getattr(config.teacher, key) == getattr(inherited.teacher, key):
            config = replace(config, teacher=replace(config.teacher, **{key: getattr(teacher, key)}))
    for key in _unread_mask_settings(config) if "masks" in tables else ():
        if getattr(config.masks, key) == getattr(inherited.masks, key):
            config = replace(config, masks=replace(config.masks, **{key: getattr(masks, key)}))
    return config


def _unread_teacher_settings(config: TrainConfig) -> list[str]:
    name = config.teacher.name
    return _unread(config.teacher, TEACHER_SETTINGS, TEACHERS[name].reads if name in TEACHERS else ())


def _unread_mask_settings(config: TrainConfig) -> list[str]:
    name = config.masks.name
    if not needs_segments(config.smoothing):
        is_asked = name in SEGMENTERS
        return [*["name"] * is_asked, *_unread(config.masks, MASK_SETTINGS, ())]
    return _unread(config.masks, MASK_SETTINGS, SEGMENTERS[name].reads if name in SEGMENTERS else ())


def _unread(options: Any, known: Collection[str], read: Collection[str]) -> list[str]:
    """Names of options that are not read and have another value than the default."""
    default = type(options)()
    names = [entry.name for entry in fields(options)]
    changed = [name for name in names if getattr(options, name) != getattr(default, name)]
    return [name for name in changed if name in known and name not in read]


def _shown_setting(table: str, options: Any, key: str) -> str:
    """An option, or the first one that is changed in a table of options, with its value: `teacher.toy.noise` 0.3."""
    default = dict(flatten(to_table(type(options)())))
    changed = {name: value for name, value in flatten(to_table(options)) if value != default.get(name)}
    name = next(name for name in changed if name.partition(".")[0] == key)
    return f"`{table}.{name}` {changed[name]}"
