"""The server behind the page: what a page alone cannot do, over one websocket.

messages  what pages say                         replies  what the server says
answers   text vectors, queries, what is shown   saves    files for the run and for the user
tab       one open page                          server   the page itself, and who may open it
live      the page of a run that trains
"""
