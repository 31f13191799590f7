"""Types of the public names, which `gsdff/__init__.py` loads when they are first used."""

from gsdff.config.options import TrainConfig as TrainConfig
from gsdff.data.poses import reconstruct as reconstruct
from gsdff.data.poses import triangulate as triangulate
from gsdff.editing.operations.delete import Delete as Delete
from gsdff.editing.operations.extract import Extract as Extract
from gsdff.editing.operations.opacity import Opacity as Opacity
from gsdff.editing.operations.recolor import Recolor as Recolor
from gsdff.editing.operations.stylize import Stylize as Stylize
from gsdff.editing.operations.transform import Duplicate as Duplicate
from gsdff.editing.operations.transform import Move as Move
from gsdff.editing.operations.transform import Rotate as Rotate
from gsdff.editing.operations.transform import Scale as Scale
from gsdff.editing.selector import Click as Click
from gsdff.errors import UserError as UserError
from gsdff.evaluation.run import score as score
from gsdff.field.field import Field as Field
from gsdff.field.hit import Hit as Hit
from gsdff.field.load import load as load
from gsdff.field.query import Box as Box
from gsdff.field.query import OneGaussian as OneGaussian
from gsdff.field.query import PictureFile as PictureFile
from gsdff.field.query import Pixel as Pixel
from gsdff.field.query import Query as Query
from gsdff.field.rendering import Rendering as Rendering
from gsdff.gaussians import Gaussians as Gaussians
from gsdff.selection import Selection as Selection
from gsdff.training.fit import fit as fit
from gsdff.viewer.serve import serve as serve

__version__: str
PUBLIC: dict[str, str]
__all__: list[str]
