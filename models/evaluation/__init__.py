"""How faithful the model is, measured."""
