"""The file formats that cards and lorebooks come in, each read and written: bytes in, values out, nothing fetched."""
