#!/usr/bin/env bash
# Start a SLURM of one machine with accounting: start.sh FOLDER. What runs already stays as it is.
# All state is in FOLDER, all ports are on 127.0.0.1. /etc/slurm links to FOLDER: the plug-in that runs jobs keeps
# no SLURM_CONF.
# Needs root and: apt-get install --no-install-recommends slurm-wlm slurmdbd munge mariadb-server
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$1"/{state,spool}
folder="$(cd "$1" && pwd)"
umask 077

runs() { [ -s "$folder/$1.pid" ] && grep -qz "$1" "/proc/$(cat "$folder/$1.pid")/cmdline" 2> /dev/null; }

wait_until() { # a command that succeeds within a minute
    for _ in $(seq 300); do "$@" > /dev/null 2>&1 && return; sleep 0.2; done
    echo "SLURM did not come up: '$*' fails; see $folder/*.log" >&2
    exit 1
}

configuration=(gres.conf slurmdbd.conf slurm.conf)
if ! [ -s "$folder/slurm.conf" ]; then
    od -An -N12 -tx1 /dev/urandom | tr -d " \n" > "$folder/password"
    head -c 1024 /dev/urandom > "$folder/munge.key"
    for number in 0 1; do mknod "$folder/gpu$number" c 1 3; done # slurmd wants devices; these are /dev/null
    for file in "${configuration[@]}"; do
        sed -e "s|@FOLDER@|$folder|; s|@HOST@|$(hostname -s)|; s|@PORT@|${SLURM_PORTS:-1681}|" \
            -e "s|@CPUS@|${SLURM_CPUS:-$(nproc)}|; s|@PASSWORD@|$(cat "$folder/password")|" \
            "$here/$file.in" > "$folder/$file"
    done
fi
install -d -m 755 /etc/slurm
for file in "${configuration[@]}"; do
    if [ -e "/etc/slurm/$file" ] && ! [ "/etc/slurm/$file" -ef "$folder/$file" ]; then
        echo "/etc/slurm/$file belongs to another SLURM: stop it first" >&2
        exit 1
    fi
    ln -sfn "$folder/$file" "/etc/slurm/$file"
done

if ! munge --no-input > /dev/null 2>&1; then
    install -d -m 755 /run/munge
    munged --force --key-file="$folder/munge.key" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
fi

if ! runs mariadbd; then
    database=(--no-defaults --user=root --datadir="$folder/database")
    [ -d "$folder/database" ] || mariadb-install-db "${database[@]}" --skip-test-db > "$folder/install.log" 2>&1
    setsid mariadbd "${database[@]}" --socket="$folder/mariadb.socket" --pid-file="$folder/mariadbd.pid" \
        --bind-address=127.0.0.1 --port="$(awk -F= '/StoragePort/ {print $2}' "$folder/slurmdbd.conf")" \
        --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --log-error="$folder/mariadbd.log" \
        < /dev/null > /dev/null 2>&1 &
    client=(--no-defaults --socket="$folder/mariadb.socket")
    wait_until mariadb-admin "${client[@]}" ping
    for host in localhost 127.0.0.1; do
        echo "CREATE USER IF NOT EXISTS slurm@'$host' IDENTIFIED BY '$(cat "$folder/password")';"
        echo "GRANT ALL ON slurm.* TO slurm@'$host';"
    done | mariadb "${client[@]}"
fi

runs slurmdbd || slurmdbd
wait_until sacctmgr --noheader list cluster
sacctmgr --immediate add cluster patchwork > /dev/null || true
runs slurmctld || slurmctld
runs slurmd || slurmd
wait_until sh -c "sinfo --noheader --format=%T | grep -E 'idle|mixed|allocated'"
