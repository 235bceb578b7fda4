"""Finding what the words of ``%job`` mean in the user's namespace: strategies, prices, calls, jobs.

Runs in the kernel. It reads the namespace and evaluates only what the user wrote as an expression; it must never import
pandas to recognise a data frame, nor change the namespace.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence

from jobnb.errors import JobnbError, UsageProblem, did_you_mean, unknown
from jobnb.notebook import grammar

Namespace = Mapping[str, object]


def is_frame(value: object) -> bool:
    """Say whether a value is a pandas DataFrame, without importing pandas."""
    return any(c.__name__ == "DataFrame" and c.__module__.partition(".")[0] == "pandas" for c in type(value).__mro__)


def _holds_frames(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(is_frame(each) for each in value.values())


def is_strategy(value: object) -> bool:
    """Say whether a value is a class that can be backtested: by its methods, whatever its base."""
    if not isinstance(value, type) or value.__module__.startswith("jobnb."):
        return False
    return (
        callable(getattr(value, "positions", None))
        or (hasattr(value, "load_data") and hasattr(value, "backtest"))
        or (hasattr(value, "init") and hasattr(value, "next"))
    )


def _public(namespace: Namespace) -> dict[str, object]:
    hidden = {"In", "Out", "get_ipython", "exit", "quit", "open"}
    return {name: value for name, value in list(namespace.items()) if name[:1] != "_" and name not in hidden}


def frames(namespace: Namespace) -> list[str]:
    """Return the names of the data frames, and of the dicts of them."""
    return sorted(name for name, value in _public(namespace).items() if is_frame(value) or _holds_frames(value))


def strategies(namespace: Namespace) -> list[str]:
    """Return the names of the strategies."""
    return sorted(name for name, value in _public(namespace).items() if is_strategy(value))


def functions(namespace: Namespace) -> list[str]:
    """Return the names of what can be called."""
    return sorted(name for name, value in _public(namespace).items() if callable(value))


def parameters(strategy: object) -> list[str]:
    """Return the names of a strategy's parameters; empty where it does not declare them."""
    declared = getattr(strategy, "parameters", None)
    if isinstance(declared, Mapping):
        return [str(name) for name in declared]
    from jobnb.research.adapters.names import offered

    return offered(strategy)


def dotted(namespace: Namespace, path: str) -> object:
    """Return what ``a.b.c`` means; KeyError where it means nothing."""
    head, *rest = path.split(".")
    if head not in namespace:
        raise KeyError(head)
    value = namespace[head]
    for name in rest:
        try:
            value = getattr(value, name)
        except AttributeError:
            raise KeyError(path) from None
    return value


def strategy(namespace: Namespace, name: str) -> object:
    """Return the strategy of that name.

    Raises
    ------
    UsageProblem
        There is none (`UnknownName`, with the nearest one), or it cannot be called.
    """
    try:
        found = dotted(namespace, name)
    except KeyError:
        known = strategies(namespace) or functions(namespace)
        if not known:
            raise UsageProblem(
                f"unknown strategy {name!r}. Define one first: class {_class_name(name)}(jobnb.Strategy): …"
            ) from None
        raise unknown("strategy", name, known) from None
    if not callable(found):
        raise UsageProblem(f"{name} is {_a(found)}, not a strategy." + did_you_mean(name, strategies(namespace)))
    return found


def _class_name(name: str) -> str:
    return name if name.isidentifier() else "MyStrategy"


def prices(namespace: Namespace, name: str | None, command: str, *, late: bool = False) -> object:
    """Return the data of that name; ``late``: a function that will fetch them does as well.

    Raises
    ------
    UsageProblem
        None is named, there is none of that name, or it is plainly no table.
    """
    known = frames(namespace)
    if name is None:
        here = f" Data frames here: {', '.join(known)}." if known else ""
        raise UsageProblem(f"%job {command} needs prices: --data NAME.{here}")
    try:
        found = dotted(namespace, name)
    except KeyError:
        raise unknown("data", name, known) from None
    if late and callable(found) and not isinstance(found, type):
        return found
    if callable(found) or isinstance(found, (str, int, float, type(None))):
        here = f" Data frames here: {', '.join(known)}." if known else ""
        raise UsageProblem(f"--data {name} is {_a(found)}, not a data frame.{here}")
    return found


def _a(value: object) -> str:
    kind = "class" if isinstance(value, type) else type(value).__name__
    return "None" if value is None else f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def setting(namespace: Namespace, name: str, value: object) -> object:
    """Return a setting's value, ``@name`` looked up."""
    if not isinstance(value, grammar.Variable):
        return value
    if value.name not in namespace:
        raise unknown("variable", value.name, _public(namespace), **{"in": f"{name}=@{value.name}"})
    return namespace[value.name]


def symbols(namespace: Namespace, words: Sequence[str]) -> list[str]:
    """Return the symbols of ``%job extract``: words as they are, and those of each ``@variable``."""
    found: list[str] = []
    for word in words:
        if not word.startswith("@"):
            found.append(word)
            continue
        held = setting(namespace, "SYMBOL", grammar.value(word))
        listed = [held] if isinstance(held, str) or not isinstance(held, Iterable) else list(held)
        for each in listed:
            if not isinstance(each, str):
                raise UsageProblem(f"{word} holds {_a(each)}, not symbols such as 'AAPL'.")
            found.append(each)
    return found


def source(namespace: Namespace, name: str) -> object:
    """Return the source of prices that a name means: one that jobnb knows, or a variable of the notebook."""
    from jobnb.data.origin import sources

    plain = name.removeprefix("@")
    known = plain.partition(":")[0] in sources() and plain == name
    return namespace[plain] if not known and plain in namespace else name


def evaluate(namespace: Namespace, text: str) -> tuple[Callable[..., object], tuple[object, ...], dict[str, object]]:
    """Evaluate the function and the arguments of a call, but not the call.

    Raises
    ------
    UsageProblem
        A name is unknown, an argument raises, or the function cannot be called.
    """
    node = grammar.call(text)
    fn = _value(namespace, node.func)
    if not callable(fn):
        raise UsageProblem(f"{ast.unparse(node.func)} is {_a(fn)}; it cannot be called.")
    args: list[object] = []
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            args += _spread(_value(namespace, argument.value), argument.value)
        else:
            args.append(_value(namespace, argument))
    kwargs: dict[str, object] = {}
    for keyword in node.keywords:
        value = _value(namespace, keyword.value)
        if keyword.arg is not None:
            kwargs[keyword.arg] = value
        elif isinstance(value, Mapping):
            kwargs.update({str(k): v for k, v in value.items()})
        else:
            raise UsageProblem(f"**{ast.unparse(keyword.value)} is {_a(value)}, not a mapping.")
    return fn, tuple(args), kwargs


def _spread(value: object, node: ast.expr) -> list[object]:
    try:
        return list(value)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        raise UsageProblem(f"*{ast.unparse(node)} is {_a(value)}, not a sequence.") from None


def _value(namespace: Namespace, node: ast.expr) -> object:
    code = compile(ast.Expression(node), "<%job submit>", "eval", dont_inherit=True)
    space = namespace if isinstance(namespace, dict) else dict(namespace)
    try:
        return eval(code, space)  # noqa: S307  (the user's own expression, in the user's own namespace)
    except NameError as error:
        known = [*_public(namespace), *(n for n in dir(builtins) if n[:1] != "_")]
        name = error.name or str(error)
        raise UsageProblem(f"unknown name {name!r} in {ast.unparse(node)}.{did_you_mean(name, known)}") from None
    except JobnbError:
        raise
    except Exception as error:  # noqa: BLE001  (whatever the user's expression raises is told on one line)
        raise UsageProblem(f"{ast.unparse(node)}: {type(error).__name__}: {error}") from None


def constraint(namespace: Namespace, text: str) -> Callable[[object], object]:
    """Return ``lambda p: text``, with the user's names in reach.

    Raises
    ------
    UsageProblem
        The text is no expression of ``p``.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise UsageProblem(f'--constraint "{text}": {error.msg}. Write --constraint "p.fast < p.slow"') from None
    if isinstance(tree.body, (ast.Name, ast.Lambda)) or (
        isinstance(tree.body, ast.Attribute)
        and not any(isinstance(n, ast.Name) and n.id == "p" for n in ast.walk(tree))
    ):
        found = _value(namespace, tree.body)
        if callable(found):
            chosen: Callable[[object], object] = found
            return chosen
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    if "p" not in used:
        raise UsageProblem(f'--constraint "{text}" does not mention p. Write --constraint "p.fast < p.slow"')
    # Only what it reads travels with it, not the whole notebook.
    space: dict[str, object] = {n: namespace[n] for n in used - {"p"} if n in namespace}
    missing = [n for n in used - {"p"} if n not in space and not hasattr(builtins, n)]
    if missing:
        names = [*_public(namespace), "p"]
        raise UsageProblem(f'unknown name {missing[0]!r} in --constraint "{text}".{did_you_mean(missing[0], names)}')
    made = ast.parse(f"lambda p: ({text})", mode="eval")
    # cloudpickle sends by value what says that it lives in __main__.
    space["__name__"] = "__main__"
    kept: Callable[[object], object] = eval(compile(made, "<--constraint>", "eval", dont_inherit=True), space)  # noqa: S307
    return kept
