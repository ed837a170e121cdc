"""What makes data for tests; README.md lists the files."""
