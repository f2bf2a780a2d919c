"""Lorebooks at work: which entries fire for a chat, why the others don't, and where they belong."""
