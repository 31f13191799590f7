"""Most host waits that each of these may have; a change that needs fewer lowers its row, none raises one."""

STEPS = {
    "stage 1": 1,
    "stage 2": 1,
}
"""By stage: one step without refinement, on the scene of tests/tiny_scene.py."""

PICTURES = {
    "colour": 5,
    "depth": 6,
    "opacity": 4,
    "features": 7,
    "relevancy": 4,
    "reliability": 5,
    "classes": 8,
    "things": 8,
    "photo": 2,
    "teacher": 3,
    "masks": 2,
}
"""By mode of the viewer: one picture, with a selection that is highlighted."""
