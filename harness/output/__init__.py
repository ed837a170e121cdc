"""All that is printed or drawn: tables, progress, answers in words and as JSON, figures and the report's page."""
