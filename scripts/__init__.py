"""A person's commands: each reads arguments, calls the rooms and prints."""
