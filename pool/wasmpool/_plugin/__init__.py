"""Plugins on a pool: the contract, the loader, and watched directories."""
