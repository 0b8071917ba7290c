"""Which functions does a program call, as far as one can tell without running it?

The strict score counts a tool only where it would really be called. So the program is followed
statement by statement, never run: a name in a comment or a string is no call, nor is one in a
branch that is never taken, in a function that nothing calls, or of a name that the program has
given another meaning. A tool under another name (`look = hover`) is still the tool. What cannot be
decided so (an `if` on something read, an `except`) counts as taken; what classes and decorators
do is not followed.
"""

import ast
import warnings

DEAD_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)  # what follows them is not reached
PASSED_ON = ("map", "filter", "submit", "to_thread")  # these call the function they are given
REPEATS = 3  # times that one function of the program is followed: the time stays linear
COMPARED = {ast.Eq: lambda a, b: a == b, ast.NotEq: lambda a, b: a != b}


def called_names(code: str) -> list[str]:
    """Names of the functions that `code` calls, in the order they would run.

    A name the program defines stands for what it is defined as: an alias for its original, a
    function for the calls in its body. Returns [] for code that does not parse.
    """
    trace = {"calls": [], "followed": {}, "active": set()}
    tree = parse(code)
    try:
        follow(tree.body if tree else [], {}, trace)
    except RecursionError:  # nested too deep to follow: what was reached counts
        pass
    return trace["calls"]


def parse(code: str) -> ast.Module | None:
    """The syntax tree of a program, None for what is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in the answer's strings
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def is_python(code: str) -> bool:
    """Can `code` be parsed?"""
    return parse(code) is not None


def constant(test: ast.expr, names: dict) -> bool | None:
    """Is a condition always true, always false, or (None) open?"""
    if isinstance(test, ast.Name) and isinstance(names.get(test.id), ast.Constant):
        return bool(names[test.id].value)
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, (ast.List, ast.Tuple, ast.Set)):
        return bool(test.elts)
    if isinstance(test, ast.Dict):
        return bool(test.keys)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = constant(test.operand, names)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        values = [constant(value, names) for value in test.values]
        deciding = isinstance(test.op, ast.Or)
        if deciding in values:
            return deciding
        return None if None in values else not deciding
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and type(test.ops[0]) in COMPARED:
        sides = (test.left, test.comparators[0])
        if all(isinstance(side, ast.Constant) for side in sides):
            return COMPARED[type(test.ops[0])](sides[0].value, sides[1].value)
    return None


def follow(body: list[ast.stmt], names: dict, trace: dict) -> bool:
    """Add to the trace what the statements of `body` call; False when they never come to an end.

    `names` maps each name the program has bound to what it stands for: the name of a function, a
    function of the program as (node, the names it sees), a constant, or None for any other value.
    The trace has the calls, and how often each function of the program was followed.
    """
    return all(follow_statement(statement, names, trace) for statement in body)


def follow_statement(node: ast.stmt, names: dict, trace: dict) -> bool:
    """As `follow`, for one statement."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for value in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            evaluate(value, names, trace)
        names[node.name] = None if node.decorator_list else (node, names)
    elif isinstance(node, ast.ClassDef):
        follow(node.body, dict(names), trace)
        names[node.name] = None
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            imported = alias.name if isinstance(node, ast.ImportFrom) else None
            if alias.name != "*":
                names[alias.asname or alias.name.partition(".")[0]] = imported
    elif isinstance(node, (ast.If, ast.While)):
        return follow_branches(node, names, trace)
    elif isinstance(node, (ast.For, ast.AsyncFor)):
        follow_loop(node, names, trace)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            evaluate(item.context_expr, names, trace)
            bind(item.optional_vars, None, names)
        return follow(node.body, names, trace)
    elif isinstance(node, (ast.Try, ast.TryStar)):
        return follow_try(node, names, trace)
    elif isinstance(node, ast.Match):
        follow_match(node, names, trace)
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        follow_assignment(node, names, trace)
    elif isinstance(node, ast.Delete):
        for target in node.targets:
            bind(target, None, names)
    elif isinstance(node, ast.Assert):
        evaluate(node.test, names, trace)  # its message is made only when it fails
        return constant(node.test, names) is not False
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.GeneratorExp):
        evaluate(node.value.generators[0].iter, names, trace)  # nothing takes its items
    else:
        evaluate_children(node, names, trace)
        return not isinstance(node, DEAD_ENDS) and not leaves(node)
    return True


def leaves(node: ast.stmt) -> bool:
    """Does a statement end the program: exit(), quit() or sys.exit()?"""
    call = node.value if isinstance(node, ast.Expr) else None
    function = call.func if isinstance(call, ast.Call) else None
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return (function.value.id, function.attr) == ("sys", "exit")
    return isinstance(function, ast.Name) and function.id in ("exit", "quit")


def follow_branches(node: ast.If | ast.While, names: dict, trace: dict) -> bool:
    """An if or a while: the branches that can be taken, each with its own names."""
    decided = constant(node.test, names)
    evaluate(node.test, names, trace)
    ends, branches = [], []
    for body, excluded in ((node.body, False), (node.orelse, True)):
        if decided is excluded:
            continue
        own = names if decided is not None else dict(names)
        ends.append(follow(body, own, trace))
        branches.append(own)
    merge(branches, names)
    if isinstance(node, ast.While):
        endless = decided is True and not any(isinstance(n, ast.Break) for n in ast.walk(node))
        return not endless
    return any(ends)


def merge(branches: list[dict], names: dict) -> None:
    """After branches of which one was taken: what one of them bound anew is known, else open."""
    for own in branches:
        for name, value in own.items():
            if name not in names:
                names[name] = value
            elif names[name] is not value and names[name] != value:
                names[name] = None


def follow_loop(node: ast.For | ast.AsyncFor, names: dict, trace: dict) -> None:
    """A for loop; over a list that is written out, once for each of its items."""
    items = node.iter.elts if isinstance(node.iter, (ast.List, ast.Tuple, ast.Set)) else None
    values = [evaluate(item, names, trace) for item in items] if items is not None else [None]
    if items is None:
        evaluate(node.iter, names, trace)
    for value in values[: REPEATS * 10]:
        bind(node.target, value, names)
        follow(node.body, names, trace)
    follow(node.orelse, names, trace)


def follow_try(node: ast.Try, names: dict, trace: dict) -> bool:
    """A try: its body, then every handler, as any of them may be needed."""
    ends, branches = [follow([*node.body, *node.orelse], names, trace)], []
    for handler in node.handlers:
        own = names | ({handler.name: None} if handler.name else {})
        ends.append(follow(handler.body, own, trace))
        branches.append(own)
    merge(branches, names)
    return follow(node.finalbody, names, trace) and any(ends)


def follow_match(node: ast.Match, names: dict, trace: dict) -> None:
    """A match: every case, with the names that its pattern binds."""
    evaluate(node.subject, names, trace)
    branches = []
    for case in node.cases:
        own = dict(names)
        for pattern in ast.walk(case.pattern):
            if getattr(pattern, "name", None):
                own[pattern.name] = None
        evaluate(case.guard, own, trace)
        follow(case.body, own, trace)
        branches.append(own)
    merge(branches, names)


def follow_assignment(node, names: dict, trace: dict) -> None:
    """An assignment: the value first, then the names it is given."""
    if isinstance(node.value, ast.GeneratorExp):
        evaluate(node.value.generators[0].iter, names, trace)  # its items are made later, if ever
        value = None
    else:
        value = evaluate(node.value, names, trace)
    for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
        evaluate_children(target, names, trace)
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for name, part in zip(target.elts, node.value.elts, strict=False):
                bind(name, stands_for(part, names), names)
        elif node.value is not None:
            bind(target, None if isinstance(node, ast.AugAssign) else value, names)


def bind(target: ast.expr | None, value, names: dict) -> None:
    """Note what the names in an assignment's target stand for from now on."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List, ast.Starred)):
        for child in ast.iter_child_nodes(target):
            bind(child, None, names)


def stands_for(node: ast.expr, names: dict):
    """What a plain name, a lambda or a constant stands for; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Lambda):
        return node, names
    return node if isinstance(node, ast.Constant) else None


def evaluate_children(node: ast.AST, names: dict, trace: dict) -> None:
    """Follow the expressions directly below `node`, in source order."""
    for child in ast.iter_child_nodes(node):
        evaluate(child, names, trace)


def evaluate(node: ast.AST | None, names: dict, trace: dict):
    """Add what an expression calls; return what it stands for, as the values of `names` do."""
    if node is None or isinstance(node, (ast.Name, ast.Lambda, ast.Constant)):
        return stands_for(node, names) if node else None
    if isinstance(node, ast.Await):
        return evaluate(node.value, names, trace)
    if isinstance(node, ast.NamedExpr):
        value = evaluate(node.value, names, trace)
        bind(node.target, value, names)
        return value
    if isinstance(node, ast.BoolOp):
        deciding = isinstance(node.op, ast.Or)
        for value in node.values:
            evaluate(value, names, trace)
            if constant(value, names) is deciding:  # the rest is not looked at
                break
        return None
    if isinstance(node, ast.IfExp):
        evaluate(node.test, names, trace)
        decided = constant(node.test, names)
        values = [
            evaluate(branch, names, trace)
            for branch, excluded in ((node.body, False), (node.orelse, True))
            if decided is not excluded
        ]
        return values[0] if len(values) == 1 else None
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        evaluate_comprehension(node, dict(names), trace)
        return None
    if isinstance(node, ast.Call):
        return evaluate_call(node, names, trace)
    evaluate_children(node, names, trace)
    return None


def evaluate_comprehension(node: ast.expr, names: dict, trace: dict) -> None:
    """A comprehension: its loops first, then what it collects."""
    for loop in node.generators:
        evaluate(loop.iter, names, trace)
        if constant(loop.iter, names) is False:
            return
        bind(loop.target, None, names)
        for test in loop.ifs:
            evaluate(test, names, trace)
            if constant(test, names) is False:
                return
    elements = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
    for element in elements:
        evaluate(element, names, trace)


def evaluate_call(node: ast.Call, names: dict, trace: dict):
    """A call: its arguments first, as Python does, then the function itself."""
    function = evaluate(node.func, names, trace)
    positional = [evaluate(argument, names, trace) for argument in node.args]
    named = {word.arg: evaluate(word.value, names, trace) for word in node.keywords}
    enter(function, positional, named, trace)
    name = node.func.attr if isinstance(node.func, ast.Attribute) else function
    if positional and name == "partial":
        return positional[0]
    if positional and name in PASSED_ON:
        enter(positional[0], [], {}, trace)
    return None


def enter(function, positional: list, named: dict, trace: dict) -> None:
    """Call what an expression stands for: note a name, follow a function of the program."""
    if isinstance(function, str):
        trace["calls"].append(function)
        return
    if not isinstance(function, tuple):
        return
    node, seen = function
    times = trace["followed"].get(node, 0)
    if times >= REPEATS or node in trace["active"]:
        return
    trace["followed"][node] = times + 1
    trace["active"].add(node)
    own = seen | parameters(node, seen, positional, named)
    if isinstance(node, ast.Lambda):
        evaluate(node.body, own, trace)
    else:
        follow(node.body, own, trace)
    trace["active"].discard(node)


def parameters(node, seen: dict, positional: list, named: dict) -> dict:
    """What each parameter of a function stands for in one call; its defaults count."""
    arguments = node.args
    plain = [parameter.arg for parameter in (*arguments.posonlyargs, *arguments.args)]
    values = dict.fromkeys(p.arg for p in ast.walk(arguments) if isinstance(p, ast.arg))
    with_default = plain[len(plain) - len(arguments.defaults) :]
    defaults = [*zip(with_default, arguments.defaults, strict=True)]
    defaults += zip((p.arg for p in arguments.kwonlyargs), arguments.kw_defaults, strict=True)
    values |= {name: stands_for(default, seen) for name, default in defaults if default}
    values |= dict(zip(plain, positional, strict=False))
    return values | {name: value for name, value in named.items() if name in values}
