#!/bin/sh
# Start one of the fleet's two Redis servers; they must not be one (docs/operations.md).
#
#   redis.sh ledger    never evicts, append-only file: work in progress, and Celery's hints
#   redis.sh cache     evicts what was used longest ago, keeps nothing: bytes between stages, and features
#
# REDIS_PASSWORD (of the user `alaas`), MAXMEMORY, and for tests PORT, DATA_DIR and REDIS_SERVER.
set -eu

role=$1
data_dir=${DATA_DIR:-/data}
acl_file=$data_dir/users.acl

# The user may touch our keys alone, and administer nothing. Pub/sub channels carry no prefix of ours (Celery names them).
# INFO counts as dangerous, and tells how full the memory is.
hash=$(printf %s "${REDIS_PASSWORD:?}" | sha256sum | cut -d ' ' -f 1)
umask 077
cat > "$acl_file" <<USERS
user default off
user alaas on #$hash ~alaas:* &* +@all -@admin -@dangerous +info
USERS

case $role in
    ledger) set -- --maxmemory-policy noeviction --appendonly yes --appendfsync everysec --save "" ;;
    cache) set -- --maxmemory-policy allkeys-lru --appendonly no --save "" ;;
    *) echo "usage: redis.sh ledger|cache" >&2; exit 2 ;;
esac
exec "${REDIS_SERVER:-redis-server}" --dir "$data_dir" --aclfile "$acl_file" --port "${PORT:-6379}" \
    --maxmemory "${MAXMEMORY:-512mb}" "$@"
