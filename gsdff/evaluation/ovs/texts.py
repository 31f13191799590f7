"""Texts of the open-vocabulary benchmarks: how they are encoded, and what is said about it."""

from collections.abc import Mapping

from gsdff.config.options import TeacherConfig
from gsdff.errors import UserError
from gsdff.evaluation.ovs.options import BARE, OvsOptions
from gsdff.field.base import FieldBase
from gsdff.field.query import Query
from gsdff.field.relevancy import DEFAULT_NEGATIVES
from gsdff.field.search import PreparedQuery, prepare
from gsdff.teachers import clip


def choose_prompts(field: FieldBase, options: OvsOptions) -> tuple[str, ...]:
    """Prompts of a query; none for the teacher's own, and for a teacher that knows names only.

    Raises `UserError` for a sentence if the teacher knows names only.
    """
    if not options.prompt:
        return ()
    if field.vocabulary is None:
        return (options.prompt,)
    if options.prompt != BARE:
        raise UserError(
            f"`ovs.prompt` {options.prompt!r}: the {field.teacher_config.name} teacher of {field.source} knows names, "
            "no sentences; leave it out"
        )
    return ()


def prepare_text(field: FieldBase, name: str, options: OvsOptions) -> PreparedQuery:
    """Prepares the search for a category by LERF's relevancy."""
    prompts = choose_prompts(field, options)
    # the query's threshold is not used: scores are cut after they are stretched
    query = Query((name,), method="lerf", temperature=options.temperature, threshold=0.5, prompts=prompts)
    return prepare(field, query)


def describe_texts(field: FieldBase, options: OvsOptions, published: str) -> str:
    """Describes how texts are encoded, and by what, beside what the published figures are of."""
    if field.vocabulary is not None:
        how = "vectors by name"
    elif not options.prompt:
        how = "in the teacher's own sentences"
    else:
        how = "bare words" if options.prompt == BARE else f"in {options.prompt!r}"
    return f"{how}, of {_describe_teacher(field.teacher_config)}; published: bare words, of {published}"


def describe_negatives(field: FieldBase, queries: Mapping[str, PreparedQuery]) -> str:
    """Describes the texts that each query competes with."""
    if all(map(field.knows, DEFAULT_NEGATIVES)):
        return ", ".join(DEFAULT_NEGATIVES)
    count = len(next(iter(queries.values())).negatives)
    return f"all {count} other names that the field knows, as it lacks {', '.join(DEFAULT_NEGATIVES)}"


def _describe_teacher(config: TeacherConfig) -> str:
    if config.name != "clip":
        return f"the {config.name} teacher"
    weights = config.pretrained or clip.PRETRAINED
    return f"the clip teacher ({config.model or clip.MODEL} with weights {weights})"
