"""Operations: what an edit does with its selection, one file each (or one for several that are alike).

A new operation is such a file, with a subclass of `Edit`, and a row of `OPERATIONS`. Its option on the command line
and its keys in files are derived from the class.
"""

from gsdff.editing.edit import Edit
from gsdff.editing.operations.delete import Delete
from gsdff.editing.operations.extract import Extract
from gsdff.editing.operations.opacity import Opacity
from gsdff.editing.operations.recolor import Recolor
from gsdff.editing.operations.stylize import Stylize
from gsdff.editing.operations.transform import Duplicate, Move, Rotate, Scale

OPERATIONS: dict[str, type[Edit]] = {
    kind.__name__.lower(): kind for kind in (Extract, Delete, Recolor, Move, Rotate, Scale, Duplicate, Opacity, Stylize)
}
"""By `Edit.name`, in the order of the options on the command line."""
