"""The server's side of the page: store, visitors, routes and guard. Starlette, no gradio."""
