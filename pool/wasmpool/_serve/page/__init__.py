"""The page at ``/``: one document that shows what goes on, and refreshes itself.

`history` keeps what was measured each second, `picture` is what a viewer is sent, `routes` sends
it, and ``page.html`` draws it. The page only reads.
"""
