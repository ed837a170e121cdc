"""The study: search methods and six questions, answered by numbers on networks that this project trained itself."""
