"""Which functions does a program call, as far as one can tell without running it?

The strict score counts a tool only where it would really be called. So the program is followed
statement by statement, never run: a name in a comment or a string is no call, nor is one in a
branch that is never taken, in a function that nothing calls, or of a name that the program has
given another meaning. A tool under another name (`look = hover`) is still the tool.
"""

import ast
import warnings

DEAD_ENDS = (ast.Return, ast.Raise, ast.Break, ast.Continue)  # what follows them is not reached
PASSED_ON = ("map", "filter")  # these call the function they are given


def called_names(code: str) -> list[str]:
    """Names of the functions that `code` calls, in the order they would run.

    A name the program defines stands for what it is defined as: an alias for its original, a
    function for the calls in its body. Returns [] for code that does not parse.
    """
    trace = {"calls": [], "followed": set()}
    tree = parse(code)
    try:
        follow(tree.body if tree else [], {}, trace)
    except RecursionError:
        return []
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


def constant(test: ast.expr) -> bool | None:
    """Is a condition always true, always false, or (None) open?"""
    if isinstance(test, ast.Constant):
        return bool(test.value)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = constant(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        values = [constant(value) for value in test.values]
        deciding = isinstance(test.op, ast.Or)
        if deciding in values:
            return deciding
        return None if None in values else not deciding
    return None


def follow(body: list[ast.stmt], names: dict, trace: dict) -> bool:
    """Add to the trace what the statements of `body` call; False when they never come to an end.

    `names` maps each name the program has bound to what it stands for: the name of a function, a
    def or lambda node, or None for any other value. The trace has the calls, and the program's own
    functions that were followed: each is followed once, so that the time stays linear.
    """
    return all(follow_statement(statement, names, trace) for statement in body)


def follow_statement(node: ast.stmt, names: dict, trace: dict) -> bool:
    """As `follow`, for one statement."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        for value in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            evaluate(value, names, trace)
        names[node.name] = node
    elif isinstance(node, ast.ClassDef):
        follow(node.body, dict(names), trace)
        names[node.name] = None
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            imported = alias.name if isinstance(node, ast.ImportFrom) else None
            names[alias.asname or alias.name.partition(".")[0]] = imported
    elif isinstance(node, (ast.If, ast.While)):
        return follow_branches(node, names, trace)
    elif isinstance(node, (ast.For, ast.AsyncFor)):
        evaluate(node.iter, names, trace)
        bind(node.target, None, names)
        follow(node.body, names, trace)
        follow(node.orelse, names, trace)
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            evaluate(item.context_expr, names, trace)
            bind(item.optional_vars, None, names)
        return follow(node.body, names, trace)
    elif isinstance(node, (ast.Try, ast.TryStar)):
        follow(node.body, names, trace)
        for handler in node.handlers:
            if handler.name:
                names[handler.name] = None
            follow(handler.body, dict(names), trace)
        return follow([*node.orelse, *node.finalbody], names, trace)
    elif isinstance(node, ast.Match):
        evaluate(node.subject, names, trace)
        for case in node.cases:
            follow(case.body, dict(names), trace)
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        value = evaluate(node.value, names, trace)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            evaluate_children(target, names, trace)
            if node.value is not None:
                bind(target, value, names)
    elif isinstance(node, ast.Delete):
        for target in node.targets:
            bind(target, None, names)
    else:
        evaluate_children(node, names, trace)
        return not isinstance(node, DEAD_ENDS) and not leaves(node)
    return True


def leaves(node: ast.stmt) -> bool:
    """Does a statement end the program: exit(), quit() or sys.exit()?"""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) in ("exit", "quit", "sys.exit")


def follow_branches(node: ast.If | ast.While, names: dict, trace: dict) -> bool:
    """An if or a while: the branches that can be taken, each with its own names."""
    decided = constant(node.test)
    evaluate(node.test, names, trace)
    ends = []
    if decided is not False:
        ends.append(follow(node.body, names if decided else dict(names), trace))
    if decided is not True:
        ends.append(follow(node.orelse, names if decided is False else dict(names), trace))
    return isinstance(node, ast.While) or any(ends)


def bind(target: ast.expr | None, value, names: dict) -> None:
    """Note what the names in an assignment's target stand for from now on."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List, ast.Starred)):
        for child in ast.iter_child_nodes(target):
            bind(child, None, names)


def evaluate_children(node: ast.AST, names: dict, trace: dict) -> None:
    """Follow the expressions directly below `node`, in source order."""
    for child in ast.iter_child_nodes(node):
        evaluate(child, names, trace)


def evaluate(node: ast.AST | None, names: dict, trace: dict):
    """Add what an expression calls; return what it stands for, as the values of `names` do."""
    if node is None:
        return None
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Lambda):
        return node
    if isinstance(node, ast.NamedExpr):
        value = evaluate(node.value, names, trace)
        bind(node.target, value, names)
        return value
    if isinstance(node, ast.BoolOp):
        deciding = isinstance(node.op, ast.Or)
        for value in node.values:
            evaluate(value, names, trace)
            if constant(value) is deciding:  # the rest is not looked at
                break
        return None
    if isinstance(node, ast.IfExp):
        evaluate(node.test, names, trace)
        decided = constant(node.test)
        if decided is not False:
            evaluate(node.body, names, trace)
        if decided is not True:
            evaluate(node.orelse, names, trace)
        return None
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
        bind(loop.target, None, names)
        for test in loop.ifs:
            evaluate(test, names, trace)
            if constant(test) is False:
                return
    elements = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
    for element in elements:
        evaluate(element, names, trace)


def evaluate_call(node: ast.Call, names: dict, trace: dict) -> None:
    """A call: its arguments first, as Python does, then the function itself."""
    function = evaluate(node.func, names, trace)
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    values = [evaluate(argument, names, trace) for argument in arguments]
    enter(function, names, trace)
    if function in PASSED_ON and values:
        enter(values[0], names, trace)


def enter(function, names: dict, trace: dict) -> None:
    """Call what an expression stands for: note a name, follow the program's own function."""
    if isinstance(function, str):
        trace["calls"].append(function)
    elif function is not None and function not in trace["followed"]:
        trace["followed"].add(function)
        parameters = [node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)]
        own = names | dict.fromkeys(parameters)
        if isinstance(function, ast.Lambda):
            evaluate(function.body, own, trace)
        else:
            follow(function.body, own, trace)
