"""A scene in the browser: looked at, asked, edited; finished or while it trains.

world      what all tabs look at            document   what one tab has asked, selected and edited
painting   ways to see, as colours          splats     what the browser draws itself
screen     a tab's pictures, drawn here     pointing   what the mouse points at
film       a camera's path                  frustums   the photos' cameras
saving     what leaves the page             gizmo      handles to drag the selection by
tab        what the controls do             panel      the controls; their HTML is in markup
live       the page of a run that trains    live_panel its controls
progress   how far it is                    turns      of training and pages
server     the page, and a tab for every browser that opens it
"""
