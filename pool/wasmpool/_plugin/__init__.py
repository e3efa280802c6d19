"""Plugins on a pool: the contract of exports, the loader, and the watch of a directory."""
