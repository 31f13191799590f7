"""The one exception for mistakes a user can mend."""


class UserError(Exception):
    """A foreseeable mistake: one line saying what was expected, what came, and what to do, naming the file.

    Doors print it without a traceback and exit with status 1 (`gsdff.cli.run_door`).
    """
