"""Most host waits that each of these may have; a change that needs fewer lowers its row, none raises one."""

STEPS = {
    "stage 1": 1,
    "stage 2": 1,
}
"""By stage: one step without refinement, on the scene of tests/tiny_scene.py."""

PICTURES: dict[str, int] = {}
"""By mode of the viewer: one picture, with a selection that is highlighted."""
