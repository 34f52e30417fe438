"""The study and the partition axes that it spans."""
