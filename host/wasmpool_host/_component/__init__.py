"""Components: compiled, linked to host functions and resources, and called by values of Python."""
