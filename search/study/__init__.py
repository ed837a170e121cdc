"""The study: search methods and six questions, answered with numbers on networks that this project trained."""
