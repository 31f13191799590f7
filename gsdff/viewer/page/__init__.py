"""A scene as one HTML file that needs neither server nor network.

packing   Gaussians in few bytes      dictionary  words as vectors of latents
loss      what packing changes        document    the file
nouns.txt words for teachers that encode any      bundle/  the built app (source: gsdff/viewer/app)
"""

from gsdff.viewer.page.document import write_page as write_page
