"""What ``wasmpool`` does on the command line; needs the extra ``cli``."""
