# Varnish (Debian's package, 7.1) for `make compare`; started by peers.py as
#
#   varnishd -F -n (a folder in memory) -a plain=... -a cache=... -a routes=... -f varnish.vcl
#            -s malloc,256m -p thread_pools=1
#   varnishncsa -n (the folder) -w /dev/null
#
# A folder in memory for its shared log, memory for what it keeps and one pool of threads for one core are
# what https://varnish-cache.org/docs/7.1/reference/varnishd.html says of `-n`, `-s` and `thread_pools`.
# Varnish writes no access log itself: varnishncsa makes it from the shared log
# (https://varnish-cache.org/docs/7.1/reference/varnishncsa.html). Its CPU counts, and is told apart.
#
# Not measured here: TLS and HTTP/2 over it, which Varnish leaves to a proxy in front
# (https://varnish-cache.org/docs/7.1/phk/ssl.html), and tokens: Debian has no JWT for it.
vcl 4.1;

# Connections to backends are kept and shared without being told to
# (https://varnish-cache.org/docs/7.1/users-guide/vcl-backends.html).
backend one {
    .host = "127.0.0.1";
    .port = "@BACKEND@";
}

include "@DIRECTORY@/routes.vcl";

sub vcl_recv {
    if (local.socket == "cache") {
        return (hash);
    }
    if (local.socket == "routes") {
        call routes;
    }
    return (pass);
}
