#!/usr/bin/env bash
# Cancel the jobs of the SLURM that start.sh has started, and stop it: stop.sh FOLDER.
set -u
folder="$(cd "$1" && pwd)" || exit

timeout 30 scancel --user="$(id -un)"
for _ in $(seq 100); do [ -z "$(timeout 5 squeue --noheader)" ] && break; sleep 0.1; done
for name in slurmd slurmctld slurmdbd mariadbd munged; do
    process="$(cat "$folder/$name.pid" 2> /dev/null)" || continue
    grep -qz "$name" "/proc/$process/cmdline" 2> /dev/null || continue
    kill "$process"
    for _ in $(seq 200); do kill -0 "$process" 2> /dev/null || break; sleep 0.1; done
    kill -9 "$process" 2> /dev/null
done
for file in gres.conf slurmdbd.conf slurm.conf; do
    if [ "/etc/slurm/$file" -ef "$folder/$file" ]; then rm "/etc/slurm/$file"; fi
done
