"""Commands of the command line that are more than a few lines, one noun a file. They speak to a server that runs."""
