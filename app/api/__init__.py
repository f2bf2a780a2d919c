"""The HTTP API: OpenAI's surface, characters, sessions and operations."""
