"""Documents that hold one fit for each group of a table."""

from __future__ import annotations

from typing import Any, cast

from kleiber.errors import BadTable, listed, shown


def pick_group(given: Any, group: Any, path: str) -> Any:
    """Return the document of one group if the file holds one for each, else the document itself;
    raise BadTable with the known groups if the group is missing or not given."""
    whole = cast("dict[str, Any]", given if isinstance(given, dict) else {})
    if "group" not in whole or not isinstance(whole.get("groups"), list):
        if group is not None:
            raise BadTable(
                f"The file {path} holds one fit, not one for each group; load it without group=."
            )
        return cast(Any, given)
    every = cast("list[Any]", whole["groups"])
    items = [cast("dict[str, Any]", item) for item in every if isinstance(item, dict)]
    named = {str(item["value"]): item for item in items if "value" in item}
    if group is None or str(group) not in named:
        raise BadTable(
            f"{path} holds one fit for each value of {shown(whole['group'])}: {listed(named)}. In "
            "Python load one of them, load(path, group=value); on the command line fit one alone, "
            "with --where."
        )
    item = named[str(group)]
    if "params" not in item:
        raise BadTable(f"{path} holds no fit of {whole['group']} = {group}: {item.get('reason')}")
    return item
