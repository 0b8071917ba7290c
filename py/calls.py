"""Which functions does a program call, in which order, and with which arguments?

The program is parsed and followed from its first statement, and never run. A call does not count in
a comment, a string, a branch that is never taken, after a return, or in a function that nothing
calls, or if the program has given the name another meaning. Every other call counts. Branches are
followed one after the other, and the body of a loop once.
"""

import ast
import builtins
import contextlib
import functools
import warnings

EXECUTE_CODE = "execute_code"  # the tool that runs a program, where rows wrap calls in one
MOST_FOLLOWED = 1000  # calls of the program's own functions, so that the time is bounded
# The names that these bind are not seen outside of them.
OWN_NAMES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
RUN_FIRST = ("generators", "iter", "key", "value")  # fields that run before others of their node


@functools.lru_cache(maxsize=10_000)  # preflight asks about the same programs several times
def called(code: str) -> list[tuple[str, list[ast.expr], dict]]:
    """Each call as (name, positional arguments, {keyword: argument}), in the order they would run.

    The arguments are syntax trees. An alias is listed under its original name, and a function of
    the program as the calls in its body. Methods (`x.f()`) are not listed.
    """
    follower = _Follower()
    with contextlib.suppress(RecursionError):  # nested too deep: what was reached counts
        follower.follow(parse(code), {})
    return follower.calls


def called_names(code: str) -> list[str]:
    """The name of each call, in the order they would run."""
    return [name for name, _, _ in called(code)]


def invented(code: str, tools: set[str]) -> list[str]:
    """The names that a program calls, but that are no tool, not Python's and nowhere defined."""
    names = [name for name in dict.fromkeys(called_names(code)) if name not in tools]
    unknown = [name for name in names if not hasattr(builtins, name)]
    defined = set()
    for node in ast.walk(parse(code)) if unknown else ():
        defined.add(getattr(node, "name", None))  # of a function, a class or an import
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
    return [name for name in unknown if name not in defined]


def parse(code: str) -> ast.Module | None:
    """The syntax tree of a program, None for what is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd escapes in the program's strings
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def taken(node: ast.If | ast.IfExp | ast.While) -> list:
    """The branches that can be taken: both, unless the condition is a constant."""
    match node.test:
        case ast.Constant(value):
            return [node.body if value else node.orelse]
        case ast.UnaryOp(ast.Not(), ast.Constant(value)):
            return [node.orelse if value else node.body]
    return [node.body, node.orelse]


def leaves(node) -> bool:
    """Is what stands after this statement never reached?"""
    match node:
        case ast.Return() | ast.Raise() | ast.Break() | ast.Continue():
            return True
        case ast.Expr(ast.Call(function)):
            return ast.unparse(function) in ("exit", "quit", "sys.exit")
        case ast.With() | ast.AsyncWith():
            return any(map(leaves, node.body))
        case ast.If():
            return all(any(map(leaves, branch)) for branch in taken(node))
    return False


class _Follower:
    """Collects the calls of a program.

    `names` maps each name that the program has defined to its meaning. That is the name of another
    function, or (node, names) of a function in the program, or None for any other value.
    """

    def __init__(self):
        self.calls, self.active, self.followed = [], [], 0

    def follow(self, nodes, names: dict) -> None:
        """Visit one node, or a list of them up to one that leaves it."""
        for node in nodes if isinstance(nodes, list) else [nodes]:
            self.visit(node, names)
            if leaves(node):
                return

    def visit(self, node, names: dict) -> None:
        """Note what a node binds and what it calls."""
        match node:
            case ast.Assign([ast.Name(target)], ast.Name(name)):
                names[target] = names.get(name, name)
            case ast.Assign([ast.Name(target)], ast.Lambda()):
                names[target] = (node.value, names)
            case ast.Name(name, ast.Store() | ast.Del()) | ast.arg(name):
                names[name] = None
            case ast.Import():
                names.update({alias.asname or alias.name: None for alias in node.names})
            case ast.ImportFrom():
                names.update({alias.asname or alias.name: alias.name for alias in node.names})
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.follow([*node.decorator_list, node.args], dict(names))
                names[node.name] = (node, names)
            case ast.ClassDef():
                self.follow(node.body, dict(names))
                names[node.name] = None
            case ast.If() | ast.IfExp() | ast.While():
                self.visit(node.test, names)
                for branch in taken(node):
                    self.follow(branch, names)
            case ast.AST():
                inner = dict(names) if isinstance(node, OWN_NAMES) else names
                first = [field for field in RUN_FIRST if field in node._fields]
                for field in dict.fromkeys([*first, *node._fields]):
                    self.follow(getattr(node, field), inner)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            self.call(node, names.get(node.func.id, node.func.id))

    def call(self, node: ast.Call, meaning) -> None:
        """List a call, or follow the function of the program that it calls."""
        if isinstance(meaning, str):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            self.calls.append((meaning, node.args, keywords))
        elif meaning and meaning[0] not in self.active and self.followed < MOST_FOLLOWED:
            function, names = meaning
            parameters = [part.arg for part in ast.walk(function.args) if isinstance(part, ast.arg)]
            self.followed += 1
            self.active.append(function)
            self.follow(function.body, names | dict.fromkeys(parameters))
            self.active.pop()
