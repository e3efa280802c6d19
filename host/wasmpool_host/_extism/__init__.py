"""The kernel of Extism plugins: the memory that a guest and its host exchange bytes by."""
