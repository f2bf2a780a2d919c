"""How much of a file is read, so that no card can fill the memory or hold the processor. Sizes in bytes."""

MIB = 1 << 20

# A card as JSON, pictures left out: the longest lorebooks that people share have about 2 MiB.
MAX_CARD_BYTES = 4 * MIB
# The text of a PNG chunk that holds a card: the same in base64, and some room.
MAX_CARD_CHUNK_BYTES = MAX_CARD_BYTES * 4 // 3 + 4096
# JSON whose pictures are in `data:` addresses.
MAX_DOCUMENT_BYTES = 96 * MIB
MAX_YAML_BYTES = MAX_CARD_BYTES * 2
# One text that may get into a prompt, in characters: about 60,000 tokens.
MAX_TEXT_CHARS = 1 << 18
# Levels of objects and lists; cards in the wild have about ten.
MAX_DEPTH = 64
# Commas and brackets, which bound the number of values before any is made.
MAX_SEPARATORS = 1_000_000
# About 3 µs each.
MAX_YAML_EVENTS = 500_000

# One file in a container: RisuAI's limit for an asset.
MAX_FILE_BYTES = 50 * MIB
# All files of a card together, as they are held in memory.
MAX_CARD_FILES_BYTES = 256 * MIB
# All files of a ZIP of many, which are held one after another.
MAX_ARCHIVE_BYTES = 4 << 30
MAX_FILES = 20_000
# Deflate gets at most 1032 out of one; text that is worth reading gets about 5.
MAX_RATIO = 200
# Less than this is no bomb, however well it was packed.
MIN_BOMB_BYTES = 8 * MIB
MAX_PIXELS = 40_000_000

MAX_WARNINGS = 50
