# What the demos have in common: waiting, tokens, and rows of a table that says whether each step
# went as promised. Needs: work, gateway, identity, bank_control, bearer.

failed=0

await() { # what, url, log
  for _ in $(seq 200); do
    curl -sf -o /dev/null "$2" && return 0
    sleep 0.1
  done
  echo "$1 did not come up; its log ends with:" >&2
  tail -n 20 "$3" >&2
  exit 1
}

free() { # ports
  local port
  for port in "$@"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "Port $port is in use; the demo needs it." >&2
      exit 1
    fi
  done
}

token() { # client
  curl -sf -u "$1-app:$1-secret" -d 'grant_type=client_credentials&scope=accounts:read' "$identity/token" |
    sed 's/.*"access_token":"\([^"]*\)".*/\1/'
}

backend_calls() { curl -sf "$bank_control/counts" | sed 's/.*"total":\([0-9]*\).*/\1/'; }

header() { sed -n "s/^$1: //Ip" "$work/head" | tr -d '\r' | head -n 1; }

row() { printf '  %-52s %-7s %9s  %-9s %-6s %s\n' "$@"; }

# Asks for a summary and compares: what, account, status, source, left; further curl arguments.
ask() {
  local what=$1 account=$2 want_status=$3 want_source=$4 want_left=$5
  shift 5
  local calls status time source left verdict=ok
  calls=$(backend_calls)
  read -r status time < <(curl -s -o "$work/body" -D "$work/head" -w '%{http_code} %{time_total}\n' \
    -H "Authorization: Bearer $bearer" "$@" "$gateway/accounts/$account/summary")
  calls=$(($(backend_calls) - calls))
  case "$(header cache-status)" in
    *hit*) source=cache ;;
    *) source=$([[ $calls -gt 0 ]] && echo backends || echo gateway) ;;
  esac
  left=$(header ratelimit | grep -o '"unattended";r=[0-9]*' | sed 's/.*=//' || true)
  [[ $status == "$want_status" && $source == "$want_source" && ${left:--} == "$want_left" ]] || verdict="WRONG"
  [[ $source == backends || $calls == 0 ]] || verdict="WRONG: $calls backend calls"
  [[ $verdict == ok ]] || failed=1
  row "$what" "$status" "$(awk -v t="$time" 'BEGIN{printf "%.1f ms", t*1000}')" "$source" "${left:--}" "$verdict"
}

table() {
  row "request" "status" "time" "source" "left" ""
  row "-------" "------" "----" "------" "----" ""
}

# Says whether every step held: logs, of which the ends are shown if not. Ends here if it did not,
# and with ONCE=1.
finish() {
  echo
  if ((failed)); then
    echo "A step went wrong. The logs end with:"
    tail -n 20 "$@"
    exit 1
  fi
  echo "Every step held."
  if [[ -n "${ONCE:-}" ]]; then exit 0; fi
  printf '\nStill running; Ctrl-C ends it. To try, in another terminal:\n\n'
  cat <<TRY
  TOKEN=\$(curl -s -u budget-app:budget-secret -d 'grant_type=client_credentials&scope=accounts:read' $identity/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
TRY
}
