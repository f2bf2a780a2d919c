"""How well a model plays: measured through the engine that serves it."""
