"""The command line that the doors share: options, help, typos answered at once, errors in one line."""

from gsdff.cli.command_line import HELP_OPTIONS, asks_for_help, flags_of, name_flags, read_options, run_door

__all__ = ["HELP_OPTIONS", "asks_for_help", "flags_of", "name_flags", "read_options", "run_door"]
