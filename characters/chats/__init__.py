"""Chats in files: what other programs keep of a conversation, read and written."""
