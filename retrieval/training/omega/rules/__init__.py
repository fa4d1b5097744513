"""The rules of ω; each registers itself (docs/extend.md)."""
