"""Sphinx settings of the documentation; `bash scripts/docs.sh` builds it into build/docs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for sphinx_parts

import gsdff

project = "gsdff"
copyright = "the gsdff maintainers, Apache-2.0"
version = release = gsdff.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_parts"]
smartquotes = False  # two dashes are an option
exclude_patterns = ["smoothness/*.md"]  # scripts/ablate_smoothing.py joins them into smoothness.md
myst_enable_extensions = ["colon_fence", "deflist"]
myst_disable_syntax = ["html_inline", "html_block"]  # <name> in a help text is no HTML
myst_heading_anchors = 3
default_role = "code"  # docstrings mark code with single backquotes
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!gsdff\.\w+$).*")]  # only public names have an entry to point at

autodoc_default_options = {"exclude-members": "apply, kept, parse_value, perform"}  # within an edit
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"gsdff {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
share = Path(__file__).parents[1] / "build" / "share"
if (share / "demo.html").is_file():  # scripts/docs.sh has exported the trained scene
    html_extra_path = [str(share)]
    tags.add("share")  # Sphinx gives it to this file
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
