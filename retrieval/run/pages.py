"""HTML pages from the templates of a package; all text is escaped, and an unknown name is an error."""

from typing import Any


def page_of(package: str, template: str, **context: Any) -> str:
    """A template of ``package``, in its folder ``templates``, filled with ``context``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**context)
