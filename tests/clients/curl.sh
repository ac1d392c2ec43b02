#!/bin/bash
# curl.sh URL [OPTION…]: listens with curl, and resumes. Prints `ID<tab>DATA` for each event.
set -u
id=
while true; do
    while IFS= read -r line; do
        case $line in
            # Presence, the event `room`, is no message.
            "data: "*"}}") ;;
            "id: "*) id=${line#id: } ;;
            "data: "*) printf '%s\t%s\n' "$id" "${line#data: }" ;;
        esac
    done < <(curl --silent --insecure --no-buffer ${id:+--header "Last-Event-ID: $id"} "$@")
    # curl does not know `retry:`.
    sleep 0.3
done
