#!/usr/bin/env bash
# Makes the tokens and passwords of compose.yaml in ./secrets; those that are there stay. Run as root, or chown by hand:
# containers read them as their own users.
set -euo pipefail
umask 077
secrets="$(cd "$(dirname "$0")" && pwd)/secrets"
mkdir -p "$secrets"

random() {
    openssl rand -hex 32
}

give_to() { # the user of the container that reads it
    if [ "$(id -u)" -eq 0 ]; then
        chown "$1:$1" "$2"
    else
        echo "as root: chown $1:$1 $2" >&2
    fi
}

for name in ray_token scrape_token grafana_password; do
    [ -s "$secrets/$name" ] || random | tr -d '\n' >"$secrets/$name"
done
if [ ! -s "$secrets/service_tokens" ]; then
    {
        echo "# name token; one line a user, take effect at once"
        echo "prometheus $(cat "$secrets/scrape_token")"
        echo "core-lab $(random)"
    } >"$secrets/service_tokens"
fi
give_to 10001 "$secrets/ray_token"
give_to 10001 "$secrets/service_tokens"
give_to 65534 "$secrets/scrape_token"
give_to 472 "$secrets/grafana_password"
