"""The engine: observe, detect, diagnose, plan, decide, execute, verify, and the services that these stand on."""
