"""Tables of the results, one file each."""
