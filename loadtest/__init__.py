"""How fast it speaks, seen from the client: a load generator, a bench beside vLLM's own server, a long chat.

Talks HTTP only and can be pointed at any server with OpenAI's chat API; knows nothing of `app`.
"""
