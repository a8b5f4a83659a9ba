"""How good a network is: prequential score, gate, guard. Pure: numpy, no I/O, clock or threads."""
