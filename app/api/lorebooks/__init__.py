"""Lorebooks over HTTP."""
