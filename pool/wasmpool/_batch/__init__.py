"""Many lines, each one call of a guest: in chunks, which are done in one place or in several."""
