"""The page for people: pictures, batches and volumes in a browser, answered by the service.

It holds no model: everything that is decided comes from the HTTP interface of :mod:`brainmtl.serve`.
"""
