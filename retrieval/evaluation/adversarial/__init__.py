"""What all attacks share: whom they attack, how the result is measured, saved and replayed."""
