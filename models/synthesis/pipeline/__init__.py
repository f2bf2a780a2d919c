"""How the commands of synthesis run: rows in, rows out, each once, whatever happens in between."""
