"""`make run`: embedded servers, secrets and the supervisor. Standard library only."""
