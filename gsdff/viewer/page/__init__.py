"""A scene as one HTML file that needs neither server nor network.

packing     Gaussians in few bytes            dictionary  words as vectors of latents
loss        what packing changes              things      things as a list
comparison  before | after of edits           tour        cameras, and a flight
document    the file                          bundle/     the built app (source: gsdff/viewer/app)
nouns.txt, wordnet_nouns.txt: words for teachers that encode any
"""

from gsdff.viewer.page.document import PageOptions as PageOptions
from gsdff.viewer.page.document import write_page as write_page
