"""What assets reach the world through: lake, warehouse, generation engine, model servers, compute."""
