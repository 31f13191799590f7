"""Viewer in the browser, for a finished scene or one that trains: displays, queries, selects and edits.

shared_scene  data shared by all tabs          session        query, selection and edits of one tab
modes/        display modes                    rendering      images and splat colours of any mode
render_loop   renders whenever a tab changes   splats         Gaussians that the browser draws
picking       Gaussians under the mouse        camera_path    keyframes, playback and video
saving        files saved from the page        frustums       cameras of the photos
tab           actions of the controls          gizmo          handles that move the selection
panel         controls; their HTML: markup     server         the page, with a tab per browser
live          the page during training         live_panel     its controls
page/         a scene as one HTML file         app/         its source, in TypeScript
wire/         the server behind that page      serve        opens either page
training_progress  steps, speed, pause         fair_lock      lock in turn for training and pages
"""
