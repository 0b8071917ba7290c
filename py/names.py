"""What do the names in a program stand for, and is a condition decided by them?

`names` maps each name that the program has bound to what it stands for: the name of a function (a
tool, mostly), a function of the program as (its node, the names that it sees), a constant's node,
or None for any other value. Nothing is run; called.py follows the program.
"""

import ast


def stands_for(node: ast.expr | None, names: dict):
    """What a plain name, a lambda or a constant stands for; None for anything else."""
    match node:
        case ast.Name(name):
            return names.get(name, name)
        case ast.Lambda():
            return node, names
        case ast.Constant():
            return node
    return None


def bind(target: ast.expr | None, value, names: dict) -> None:
    """Note what the names in an assignment's target stand for from now on."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, ast.Tuple | ast.List | ast.Starred):
        for child in ast.iter_child_nodes(target):
            bind(child, None, names)


def merge(scopes: list[dict], names: dict) -> None:
    """After branches, each with its scope, of which one was taken.

    What one of them has bound anew is known; what one has rebound is open.
    """
    for scope in scopes:
        for name, value in scope.items():
            known = names.setdefault(name, value)
            if known is not value and known != value:
                names[name] = None


def parameters(own: ast.arguments, names: dict, positional: list, named: dict) -> dict:
    """What each parameter of a function stands for in one call; its defaults count."""
    plain = [parameter.arg for parameter in (*own.posonlyargs, *own.args)]
    values = dict.fromkeys(p.arg for p in ast.walk(own) if isinstance(p, ast.arg))
    defaults = [*zip(reversed(plain), reversed(own.defaults), strict=False)]
    defaults += zip((p.arg for p in own.kwonlyargs), own.kw_defaults, strict=True)
    values |= {name: stands_for(default, names) for name, default in defaults}
    values |= dict(zip(plain, positional, strict=False))
    return values | {name: value for name, value in named.items() if name in values}


def constant(test: ast.expr, names: dict) -> bool | None:
    """Is a condition always true, always false, or (None) open?"""
    match test:
        case ast.Name(name) if isinstance(names.get(name), ast.Constant):
            return bool(names[name].value)
        case ast.Constant(value):
            return bool(value)
        case ast.List(items) | ast.Tuple(items) | ast.Set(items) | ast.Dict(items):
            return bool(items)
        case ast.UnaryOp(ast.Not(), operand):
            inner = constant(operand, names)
            return None if inner is None else not inner
        case ast.BoolOp(operator, values):
            decided = [constant(value, names) for value in values]
            deciding = isinstance(operator, ast.Or)
            if deciding in decided:
                return deciding
            return None if None in decided else not deciding
        case ast.Compare(ast.Constant(left), [ast.Eq()], [ast.Constant(right)]):
            return left == right
        case ast.Compare(ast.Constant(left), [ast.NotEq()], [ast.Constant(right)]):
            return left != right
    return None


def taken(node: ast.If | ast.While | ast.IfExp, names: dict) -> list:
    """The branches of a condition that can be taken."""
    branches = {True: [node.body], False: [node.orelse], None: [node.body, node.orelse]}
    return branches[constant(node.test, names)]
