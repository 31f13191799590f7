"""Most host waits that each of these may have; a change that needs fewer lowers its row, none raises one."""

STEPS = {
    "stage 1": 6,
    "stage 2": 0,
}
"""By stage: one step without refinement, on the scene of tests/tiny_scene.py."""

PICTURES = {
    "colour": 8,
    "depth": 8,
    "opacity": 6,
    "features": 9,
    "relevancy": 6,
    "classes": 11,
    "photo": 2,
    "teacher": 3,
    "masks": 2,
}
"""By mode of the viewer: one picture, with a selection that is highlighted."""
