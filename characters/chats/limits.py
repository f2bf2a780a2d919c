"""How much of a chat is read."""

# Swipes among them; a session holds as many.
MAX_MESSAGES = 20_000
# Files of a ZIP, each a branch.
MAX_BRANCHES = 1000
MAX_BRANCHES_BYTES = 256 << 20
# What a message has beside what was said, and what a header says.
MAX_BESIDE_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 18
MAX_NAME_CHARS = 100
MAX_CHECKPOINTS = 200
