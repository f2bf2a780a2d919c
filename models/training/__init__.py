"""Supervised fine-tuning: recipes, vocabularies, rows to token ids, and the run that writes a model folder."""
