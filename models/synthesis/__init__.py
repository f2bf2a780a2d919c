"""The data of the recipe: personas to profiles, profiles to dialogues."""
