"""The workbench: runs over HTTP, and a page to speak to them in a browser."""
