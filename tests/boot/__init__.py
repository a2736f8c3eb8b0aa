"""Whole appliances: built, attacked and booted in virtual machines."""
