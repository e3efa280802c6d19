"""When guests run, and where: the epoch ticker, the loop's budget, the worker threads."""
