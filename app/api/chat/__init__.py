"""Replies over HTTP: OpenAI's surface, and the frames of every stream."""
