"""Tasks of a user's own images: folders with one folder a class, files of arrays, and what Python holds."""
