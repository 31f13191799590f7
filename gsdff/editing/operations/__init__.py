"""Operations: what an edit does with its selection, one file each (or one for several that are alike)."""

from pkgutil import resolve_name

from gsdff.editing.edit import Edit
from gsdff.editing.table import OPERATIONS


def operation(name: str) -> type[Edit]:
    """Class of the operation of a row of the table."""
    return resolve_name(OPERATIONS[name].location)
