"""The targets believe what this user has written, whoever it is."""

from tests.unit.conftest import own_files_are_roots

__all__ = ("own_files_are_roots",)
