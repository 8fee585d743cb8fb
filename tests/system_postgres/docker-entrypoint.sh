#!/bin/sh
# Stands in for the entrypoint of the image, with the PostgreSQL of this system: gives root up, makes the database at the first
# start, asks it something over the socket as the image does, and becomes the server.
set -eu
shift # `postgres`, the program
if [ "$(id -u)" = 0 ]; then
  install -d -o postgres -m 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" postgres "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" | initdb --data-checksums --pgdata="$PGDATA" --username=postgres --pwfile=/dev/stdin
  pg_ctl -D "$PGDATA" -w -o "$* -c listen_addresses='' -c unix_socket_directories=$PGDATA" start
  # The line of pg_hba.conf for inside the container knows the account `postgres` alone.
  [ "$(id -un)" != postgres ] || psql -h "$PGDATA" -p "$PORT" -U postgres -v ON_ERROR_STOP=1 -c 'CREATE DATABASE repruv'
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec postgres -D "$PGDATA" "$@"
