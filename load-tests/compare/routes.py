"""The same routes in each peer's own words. All lead to the one backend: what is measured is finding them."""

from __future__ import annotations

from itertools import groupby

from works import prefix_of


def nginx(count: int) -> str:
    """Prefix locations, which nginx keeps in a tree."""
    return "".join(f"location {prefix_of(n)} {{ proxy_pass http://backend; }}\n" for n in range(1, count + 1))


def haproxy(count: int) -> str:
    """A map from prefixes to backends."""
    return "".join(f"{prefix_of(n)} backend\n" for n in range(1, count + 1))


def envoy(count: int) -> str:
    """Entries of a prefix map."""
    indent = " " * 30
    route = (
        'action: { name: route, typed_config: { "@type": '
        "type.googleapis.com/envoy.config.route.v3.Route, "
        'match: { prefix: "/" }, route: { cluster: backend } } }'
    )
    return "\n".join(f'{indent}"{prefix_of(n)}": {{ {route} }}' for n in range(1, count + 1))


def tollgate(count: int) -> str:
    """Entries of `routes`."""
    return "\n".join(
        f'  - {{ id: r{n}, match: {{ path: "{prefix_of(n)}{{id}}" }}, authenticate: none, cluster: backend }}'
        for n in range(1, count + 1)
    )


def varnish(count: int) -> str:
    """A sub with comparisons: VCL has no table of its own, nor has a module in Debian.

    The prefix is cut out once, so that what follows are comparisons of texts and not regular expressions,
    and they are grouped by the first segments, so that a request meets a seventh of them.
    """
    lines = ["sub routes {"]
    lines.append(r'    set req.http.x-route = regsub(req.url, "^(/[^/]+/[^/]+/[^/]+/).*$", "\1");')
    sorted_routes = sorted(range(1, count + 1), key=lambda n: (n % 7, n))
    for version, members in groupby(sorted_routes, key=lambda n: n % 7):
        lines.append(f'    if (req.url ~ "^/api/v{version}/") {{')
        # One after the other, not `else if`: the C compiler takes those for as many levels.
        lines += (
            f'        if (req.http.x-route == "{prefix_of(n)}") {{ set req.backend_hint = one; return (pass); }}'
            for n in members
        )
        lines.append("    }")
    return "\n".join([*lines, "    return (synth(404));", "}", ""])
