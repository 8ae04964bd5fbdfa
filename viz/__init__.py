"""How it looks: pure functions of records, and the bytes that the browser draws them from."""
