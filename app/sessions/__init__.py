"""Sessions and their turns: what is said, in which order, and what becomes of it."""
