"""The gateway's own description in OpenAPI 3.1, made from the types that the code reads."""
