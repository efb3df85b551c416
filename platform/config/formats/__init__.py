"""How each language writes times, where Django's own way is not ours."""
