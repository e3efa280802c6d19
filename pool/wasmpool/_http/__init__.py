"""What a plugin may ask over HTTP, and the client that asks it."""
