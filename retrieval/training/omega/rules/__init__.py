"""The rules of ω, one file each; each registers itself (docs/extend.md)."""
