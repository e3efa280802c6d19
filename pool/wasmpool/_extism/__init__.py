"""Extism plugins: manifests, host functions and plugins on pools."""
