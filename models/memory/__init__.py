"""What is remembered of a conversation once it has left the prompt: written down, and found again."""
