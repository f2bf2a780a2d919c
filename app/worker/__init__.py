"""Heavy work on files, in processes beside the server's: they know cards and pictures, no HTTP and no Redis."""
