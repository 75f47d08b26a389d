"""Checks of arguments and data, each with one message for all who need it."""
