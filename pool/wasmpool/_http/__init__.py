"""HTTP for plugins: the policy, the host function, and the client."""
