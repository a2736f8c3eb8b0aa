"""What runs in the test guest: started by `in-guest`, prints one line of JSON."""
