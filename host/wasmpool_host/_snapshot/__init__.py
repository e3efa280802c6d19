"""Modules whose instances begin where one that was set up stood; `take` tells how."""
