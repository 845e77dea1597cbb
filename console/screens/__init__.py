"""The screens: the fleet, and what an operator looks at or decides from there."""
