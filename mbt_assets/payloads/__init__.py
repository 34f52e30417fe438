"""Plain programs that do the heavy work, run as their own processes; none of them imports dagster."""
