"""From the bytes of a module to native code."""
