"""Build: on any machine, without privilege, before the appliance exists."""
