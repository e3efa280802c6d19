"""Leases of isolated instances: grants, growth, retirement, close and reload."""
