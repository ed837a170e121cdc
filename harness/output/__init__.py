"""Output: tables, progress, answers as text and JSON, figures and the report page."""
