"""Python values as the text of a proofproxy config file."""


class Raw(str):
    """Text that goes into the config file as it is."""


def value(v):
    if isinstance(v, Raw):
        return str(v)
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, int):
        return str(v)
    if isinstance(v, str):
        return '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(v, dict):
        return "{ " + " ".join(f"{k} = {value(x)};" for k, x in v.items()) + " }"
    if isinstance(v, (list, tuple)):
        return "[ " + ", ".join(value(x) for x in v) + " ]"
    raise TypeError(f"{v!r} has no place in a config file")


def text(settings):
    return "".join(f"{key} = {value(v)};\n" for key, v in settings.items())
