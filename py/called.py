"""Which functions does a program call, as far as one can tell without running it?

The strict score counts a tool only where it would really be called. So the program is followed
statement by statement, never run: a name in a comment or a string is no call, nor is one in a
branch that is never taken, in a function that nothing calls, or of a name that the program has
given another meaning. A tool under another name (`look = hover`) is still the tool. What cannot be
decided (an `if` on something read, an `except`) counts as taken; what classes and decorators do is
not followed.
"""

import ast
import contextlib
import warnings
from collections import Counter

from names import bind, constant, merge, parameters, stands_for, taken

PASSED_ON = ("map", "filter", "submit", "to_thread")  # these call the function they are given
REPEATS = 3  # times that one function of the program is followed: the time stays linear
ITEMS = 30  # of a list, for which the body of a loop is followed


def called_names(code: str) -> list[str]:
    """Names of the functions that `code` calls, in the order they would run.

    A name that the program defines stands for what it is defined as: an alias for its original, a
    function for the calls in its body. Returns [] for code that does not parse.
    """
    trace = {"calls": [], "followed": Counter(), "active": set()}
    tree = parse(code)
    with contextlib.suppress(RecursionError):  # nested too deep to follow: what was reached counts
        _Follower({}, trace).follow(tree.body if tree else [])
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


class _Follower(ast.NodeVisitor):
    """Follows code with the `names` it sees (names.py), and adds what it calls to the trace.

    Visiting an expression returns what it stands for; visiting a statement returns False where
    what comes after it is not reached. The trace has the calls, and which functions of the program
    were followed how often, and which are being followed.
    """

    def __init__(self, names: dict, trace: dict):
        self.names, self.trace = names, trace

    def follow(self, body: list[ast.AST]) -> bool:
        """Visit statements; is the end of the last one reached?"""
        return all(self.visit(statement) is not False for statement in body)

    def follow_either(self, branches: list[tuple]) -> bool:
        """Follow branches, (statements, names bound first), of which one is taken; does any end?"""
        inner = [_Follower(self.names | dict.fromkeys(names), self.trace) for _, names in branches]
        ends = [each.follow(body) for each, (body, _) in zip(inner, branches, strict=True)]
        merge([each.names for each in inner], self.names)
        return any(ends)

    # Statements

    def visit_FunctionDef(self, node):
        for value in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults):
            if value:
                self.visit(value)
        self.names[node.name] = None if node.decorator_list else (node, self.names)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        _Follower(dict(self.names), self.trace).follow(node.body)
        self.names[node.name] = None

    def visit_Import(self, node):
        for alias in node.names:
            self.names[alias.asname or alias.name.partition(".")[0]] = None

    def visit_ImportFrom(self, node):
        for alias in node.names:
            self.names[alias.asname or alias.name] = alias.name

    def visit_If(self, node):
        bodies = taken(node, self.names)
        self.visit(node.test)
        if len(bodies) == 1:
            return self.follow(bodies[0])
        return self.follow_either([(body, ()) for body in bodies])

    def visit_While(self, node):
        always = constant(node.test, self.names)
        self.visit_If(node)
        return not always or any(isinstance(child, ast.Break) for child in ast.walk(node))

    def visit_For(self, node):
        """Over a list that is written out: once for each of its items."""
        if isinstance(node.iter, ast.List | ast.Tuple | ast.Set):
            values = [self.visit(item) for item in node.iter.elts]
        else:
            self.visit(node.iter)
            values = [None]
        for value in values[:ITEMS]:
            bind(node.target, value, self.names)
            self.follow(node.body)
        self.follow(node.orelse)

    visit_AsyncFor = visit_For

    def visit_With(self, node):
        for item in node.items:
            self.visit(item.context_expr)
            bind(item.optional_vars, None, self.names)
        return self.follow(node.body)

    visit_AsyncWith = visit_With

    def visit_Try(self, node):
        """Any of the handlers may be needed."""
        ends = self.follow([*node.body, *node.orelse])
        handled = self.follow_either([(h.body, [h.name] if h.name else ()) for h in node.handlers])
        return self.follow(node.finalbody) and (ends or handled)

    visit_TryStar = visit_Try

    def visit_Match(self, node):
        self.visit(node.subject)
        branches = []
        for case in node.cases:
            guard = [case.guard] if case.guard else []
            names = [getattr(part, "name", None) for part in ast.walk(case.pattern)]
            branches.append(([*guard, *case.body], filter(None, names)))
        self.follow_either(branches)

    def visit_Assign(self, node):
        value = self.visit_unread(node.value)
        for target in node.targets:
            self.generic_visit(target)
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, part in zip(target.elts, node.value.elts, strict=False):
                    bind(name, stands_for(part, self.names), self.names)
            else:
                bind(target, value, self.names)

    def visit_AnnAssign(self, node):
        if node.value:
            self.visit_Assign(ast.Assign([node.target], node.value))
        else:
            self.generic_visit(node.target)

    def visit_AugAssign(self, node):
        self.visit_unread(node.value)
        self.generic_visit(node.target)
        bind(node.target, None, self.names)

    def visit_Delete(self, node):
        for target in node.targets:
            bind(target, None, self.names)

    def visit_Assert(self, node):
        """Its message is made only when it fails."""
        self.visit(node.test)
        return constant(node.test, self.names) is not False

    def visit_Expr(self, node):
        self.visit_unread(node.value)
        match node.value:
            case ast.Call(ast.Name("exit" | "quit") | ast.Attribute(ast.Name("sys"), "exit")):
                return False

    def visit_Return(self, node):
        self.generic_visit(node)
        return False

    visit_Raise = visit_Break = visit_Continue = visit_Return

    # Expressions

    def visit_unread(self, node: ast.expr):
        """Visit a value that nothing reads here: a generator makes its items later, if ever."""
        if isinstance(node, ast.GeneratorExp):
            self.visit(node.generators[0].iter)
            return None
        return self.visit(node)

    def visit_Name(self, node):
        return stands_for(node, self.names)

    visit_Lambda = visit_Constant = visit_Name

    def visit_Await(self, node):
        return self.visit(node.value)

    def visit_NamedExpr(self, node):
        value = self.visit(node.value)
        bind(node.target, value, self.names)
        return value

    def visit_BoolOp(self, node):
        for value in node.values:
            self.visit(value)
            if constant(value, self.names) is isinstance(node.op, ast.Or):
                break  # the rest is not looked at

    def visit_IfExp(self, node):
        branches = taken(node, self.names)
        self.visit(node.test)
        values = [self.visit(branch) for branch in branches]
        return values[0] if len(values) == 1 else None

    def visit_GeneratorExp(self, node):
        """Any comprehension: its loops first, then what it collects."""
        inner = _Follower(dict(self.names), self.trace)
        for loop in node.generators:
            for test in (loop.iter, *loop.ifs):
                inner.visit(test)
                if constant(test, inner.names) is False:
                    return
                bind(loop.target, None, inner.names)
        for element in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            inner.visit(element)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp

    def visit_Call(self, node):
        """Its arguments first, as Python does, then the function itself."""
        function = self.visit(node.func)
        positional = [self.visit(argument) for argument in node.args]
        named = {word.arg: self.visit(word.value) for word in node.keywords}
        self.call(function, positional, named)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else function
        if positional and name == "partial":
            return positional[0]
        if positional and name in PASSED_ON:
            self.call(positional[0], [], {})
        return None

    def call(self, function, positional: list, named: dict) -> None:
        """Call what an expression stands for: note a name, follow a function of the program."""
        if isinstance(function, str):
            self.trace["calls"].append(function)
        if not isinstance(function, tuple):
            return
        node, names = function
        if self.trace["followed"][node] >= REPEATS or node in self.trace["active"]:
            return
        self.trace["followed"][node] += 1
        self.trace["active"].add(node)
        inner = _Follower(names | parameters(node.args, names, positional, named), self.trace)
        inner.follow(node.body if isinstance(node.body, list) else [node.body])
        self.trace["active"].discard(node)
