"""The server behind the page: what a page alone cannot do, over one websocket.

messages  what pages and server say          answers  text vectors, queries, what a page shows
tab       one open page                      server   the page itself, and who may open it
"""
