"""Which guest runs when: the ticks, the budget of the loop, the worker threads."""
