"""The runner of the reader suite: rows, steps, checks and their results."""
