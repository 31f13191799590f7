"""Viewer in the browser, for a finished scene or one that trains: a page that draws, asks and edits, and its server.

page/             a scene as the page takes it   app/           the page itself, in TypeScript
wire/             the server behind it           serve          opens it for a loaded field
shared_scene      what all pages share           visible_scene  what one picture shows
modes/            display modes                  rendering      images of any mode
render_loop       coarse pictures, then whole    fair_lock      lock in turn for training and pages
live_scene        a scene that trains            training_progress  its steps, speed, curves, and a pause
picking           the feature at a place         film           flights as MP4
gate              who may talk to the server     address        where it is
failures          errors that a page survives
"""
