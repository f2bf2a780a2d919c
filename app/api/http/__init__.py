"""What every part of the API reads requests and writes answers with."""
