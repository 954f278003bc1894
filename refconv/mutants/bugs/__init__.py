"""One file for each kind of bug, of which real kernels had the entries. Each mutant reads alone; knows the kernels."""
