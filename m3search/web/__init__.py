"""The HTTP API and its page: `m3search serve`. Needs the `serve` extra.

settings.py               what a server is told
server.py app.py          run it; make the ASGI application
assistant.py              the same for assistants (Model Context Protocol)
gate.py access.py         what every request passes: host, token, origin, size, time, number
live.py                   the engine, which follows the index
workers.py archive.py     decoding in limited processes; an item's files in its archive
uploads.py rendering.py   files that somebody asks with; items larger than their thumbnails
projection.py facets.py   the index from afar
asking.py stored.py provenance.py  from requests to answers
shapes.py errors.py metrics.py     what is answered
routes/                   the routes, by what they are about
page/                     HTML, CSS and JavaScript, served as they are
"""
