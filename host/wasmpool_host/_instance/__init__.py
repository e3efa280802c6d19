"""One instance: its calls on fibers, its host functions, its memory."""
