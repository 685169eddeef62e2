"""What lag is: frozen records and pure functions. No clock, no I/O, no library of Kafka or of Trio."""
